/**
 * A trained model, step by step, for rows that are all at the same step: `hypermeter.play.network` over typed arrays.
 *
 * The contributions of the place in the phrase to the first maps are computed once for a grid.
 */

import { BarAttention, type Entries } from './attention'
import { placeFeatures, stepsPerBar, type Grid } from './grids'
import { Head, mixtures } from './heads'
import { beside, columns, gelu, LayerNorm, Linear, Recurrent, transposed } from './layers'
import type { Meta } from './meta'
import { type Output, type State, type Stepper, selectRows } from './player'
import { Steering } from './steering'
import type { Weights } from './weights'

const LOOK_BACK_BARS = [1, 2, 4]

/** State of a `Network` before a step; its arrays are not changed once made. */
class NetworkState implements State {
  constructor(
    readonly rows: number,
    readonly position: number,
    /** States of the encoders. */
    readonly step: Float32Array[],
    readonly bar: Float32Array[],
    readonly phrase: Float32Array[],
    /** What the bar attention makes of the state. */
    readonly ofState: Float32Array,
    /** Contributions of the bar and the phrase level to the features. */
    readonly ofBar: Float32Array,
    readonly ofPhrase: Float32Array,
    /** Sums of states and hits since the bar began, then of outputs and hits of the phrase's past bars. */
    readonly sums: [Float32Array, Float32Array, Float32Array, Float32Array],
    /** Past steps (rows, width), the last one last. */
    readonly history: Uint8Array[],
    /** Of the bar attention: for each step of the bar and each row. */
    readonly memory: Entries[][],
  ) {}

  select(rows: ArrayLike<number>): NetworkState {
    const floats = (all: Float32Array) => selectRows(all, this.rows, rows)
    return new NetworkState(
      rows.length, this.position, this.step.map(floats), this.bar.map(floats), this.phrase.map(floats), floats(this.ofState),
      floats(this.ofBar), floats(this.ofPhrase), this.sums.map(floats) as typeof this.sums,
      this.history.map((step) => selectRows(step, this.rows, rows)),
      this.memory.map((column) => Array.from(rows, (row) => column[row])),
    )
  }
}

export class Network implements Stepper {
  readonly width: number
  readonly stepsPerBar: number
  private readonly stepRnn: Recurrent
  private readonly barRnn: Recurrent
  private readonly phraseRnn: Recurrent
  private readonly stepToBar: Linear
  private readonly barToPhrase: Linear
  private readonly hearBar: Linear | null
  private readonly hearPhrase: Linear | null
  private readonly attention: BarAttention | null
  private readonly norm: LayerNorm
  private readonly mix: Linear
  private readonly unmix: Linear
  private readonly head: Head
  private readonly steering: Steering | null
  /** Steps before the next one that are inputs; 1 is the last step. */
  private readonly lookBack: number[]
  /** (inputs, 3 hidden), of the hits. */
  private readonly ofHits: Float32Array
  private readonly ofFirst: Float32Array
  /** (steps of a phrase, columns). */
  private readonly ofPlace: Float32Array
  private readonly mixOfPlace: Float32Array

  constructor(meta: Meta, weights: Weights, readonly grid: Grid) {
    const perBar = (this.stepsPerBar = stepsPerBar(grid))
    const width = (this.width = meta.width)
    this.stepRnn = new Recurrent(weights, 'step_rnn')
    this.barRnn = new Recurrent(weights, 'bar_rnn')
    this.phraseRnn = new Recurrent(weights, 'phrase_rnn')
    this.stepToBar = Linear.of(weights, 'step_to_bar')
    this.barToPhrase = Linear.of(weights, 'bar_to_phrase')
    const optional = (name: string) => (weights.has(`${name}.weight`) ? Linear.of(weights, name) : null)
    this.hearBar = optional('hear_bar')
    this.hearPhrase = optional('hear_phrase')
    this.attention = meta.attention_bars ? new BarAttention(weights, 'bar_attention', width, meta.attention_bars) : null
    this.norm = new LayerNorm(weights, 'feature_norm')
    this.lookBack = [1]
    if (meta.look_back_steps) {
      for (const bars of LOOK_BACK_BARS) for (let step = 0; step < meta.look_back_steps; step++) this.lookBack.push(bars * perBar - step)
    }
    const { places, dim } = placesOf(weights, grid)
    const steps = perBar * grid.bars_per_phrase
    const ofPlaces = (map: Linear, from: number): Float32Array => {
      const own = new Linear(columns(map.weight, map.inputs, from, from + dim), map.bias, dim, map.outputs)
      return own.apply(places, steps)
    }
    const { input } = this.stepRnn
    const size = width * this.lookBack.length
    this.ofHits = transposed(columns(input.weight, input.inputs, 0, size), size)
    this.ofFirst = columns(input.weight, input.inputs, size, size + 1)
    this.ofPlace = ofPlaces(input, size + 1)
    const mix = Linear.of(weights, 'mix')
    const hidden = this.stepRnn.size
    this.mix = mix.columns(0, hidden)
    this.mixOfPlace = ofPlaces(mix, hidden)
    this.unmix = Linear.of(weights, 'unmix')
    this.head = new Head(weights, 'output_layer', width)
    this.steering = meta.labels
      ? new Steering(weights, 'steering', places, dim, width, meta.num_drums, this.head.components, perBar)
      : null
  }

  start(rows: number): State {
    const zeros = new Float32Array(rows * this.stepRnn.size)
    const silence = new Float32Array(rows * this.width)
    const ofBars = new Float32Array(rows * this.barRnn.size)
    const memory = this.attention ? Array.from({ length: this.stepsPerBar }, () => new Array<Entries>(rows).fill([])) : []
    return new NetworkState(
      rows, -1, this.stepRnn.start(rows), this.barRnn.start(rows), this.phraseRnn.start(rows), zeros, zeros, zeros,
      [zeros, silence, ofBars, silence], [], memory,
    )
  }

  step(x: Uint8Array, asked: Float32Array | null, before: State): { state: State; output: Output } {
    const state = this.advance(x, before as NetworkState)
    return { state, output: this.read(state, asked) }
  }

  /** The state after a step; after nothing, that before the first. */
  private advance(x: Uint8Array, before: NetworkState): NetworkState {
    const { rows } = before
    const position = before.position + 1
    const place = position % this.stepsPerBar
    let { memory, history } = before
    if (position > 0) {
      const column = (position - 1) % this.stepsPerBar
      if (this.attention) {
        memory = memory.slice()
        memory[column] = memory[column].map((entries, row) => this.attention!.remember(before.ofState, row, x, entries))
      }
      const most = Math.max(...this.lookBack)
      history = history.length < most ? history.slice() : history.slice(1)
      history.push(x)
    }
    const step = this.stepRnn.stepFrom(this.into(history, rows, position), before.step, rows)
    const hidden = step[step.length - 1]
    const ofState = this.attention ? this.attention.read(hidden, rows) : before.ofState
    let { bar, phrase, ofBar, ofPhrase, sums } = before
    if (position > 0) {
      let [barStates, barHits, phraseStates, phraseHits] = sums
      barStates = plus(barStates, hidden)
      barHits = plus(barHits, x)
      if (place === 0) {
        const means = beside([[barStates, this.stepRnn.size], [barHits, this.width]], rows).map((sum) => sum / this.stepsPerBar)
        bar = this.barRnn.step(this.stepToBar.apply(means, rows), bar, rows)
        const output = bar[bar.length - 1]
        phraseStates = plus(phraseStates, output)
        phraseHits = plus(phraseHits, barHits)
        barStates = new Float32Array(barStates.length)
        barHits = new Float32Array(barHits.length)
        if (this.hearBar) ofBar = this.hearBar.apply(output, rows)
        const bars = this.grid.bars_per_phrase
        if (position % (this.stepsPerBar * bars) === 0) {
          const states = phraseStates.map((sum) => sum / bars)
          const hits = phraseHits.map((sum) => sum / bars / this.stepsPerBar)
          phrase = this.phraseRnn.step(this.barToPhrase.apply(beside([[states, this.barRnn.size], [hits, this.width]], rows), rows), phrase, rows)
          phraseStates = new Float32Array(phraseStates.length)
          phraseHits = new Float32Array(phraseHits.length)
          if (this.hearPhrase) ofPhrase = this.hearPhrase.apply(phrase[phrase.length - 1], rows)
        }
      }
      sums = [barStates, barHits, phraseStates, phraseHits]
    }
    return new NetworkState(rows, position, step, bar, phrase, ofState, ofBar, ofPhrase, sums, history, memory)
  }

  /** The step level's map of its inputs: of the hits, which are few, only their rows are added. */
  private into(history: Uint8Array[], rows: number, position: number): Float32Array {
    const { width, ofHits } = this
    const size = this.ofFirst.length
    const into = new Float32Array(rows * size)
    const place = (position * size) % this.ofPlace.length
    const ofPlace = this.ofPlace.subarray(place, place + size)
    for (let row = 0; row < rows; row++) {
      const own = into.subarray(row * size, (row + 1) * size)
      own.set(ofPlace)
      if (position === 0) for (let j = 0; j < size; j++) own[j] += this.ofFirst[j]
      this.lookBack.forEach((steps, number) => {
        const past = history[history.length - steps]
        if (!past) return
        for (let v = 0; v < width; v++) {
          if (!past[row * width + v]) continue
          for (let j = 0, at = (number * width + v) * size; j < size; j++) own[j] += ofHits[at + j]
        }
      })
    }
    return into
  }

  /** The distributions of the step after a state. */
  private read(state: NetworkState, asked: Float32Array | null): Output {
    const { rows, position } = state
    let hidden = plus(state.step[state.step.length - 1], state.ofBar)
    hidden = plus(hidden, state.ofPhrase)
    const recalled = this.attention ? this.attention.recall(state.ofState, state.memory[position % this.stepsPerBar], hidden) : null
    const features = this.norm.apply(hidden, rows)
    const mixed = this.mix.apply(features, rows)
    const size = this.mix.outputs
    const place = (position * size) % this.mixOfPlace.length
    for (let row = 0; row < rows; row++) for (let j = 0; j < size; j++) mixed[row * size + j] += this.mixOfPlace[place + j]
    const change = this.unmix.apply(gelu(mixed), rows)
    for (let i = 0; i < features.length; i++) features[i] += change[i]
    const free = mixtures(this.head, rows, features, recalled, null)
    if (!this.steering || !asked || !asked[asked.length - 1]) return { dist: free, free, features }
    const planned = this.steering.steer(asked, state.sums[1], rows, position, recalled)
    return { dist: mixtures(this.head, rows, features, planned.recalled, planned.steered), free, features }
  }
}

/** The embedding of each step of a phrase, (steps, dim): from its features, or of a table of one grid. */
function placesOf(weights: Weights, grid: Grid): { places: Float32Array; dim: number } {
  if (weights.has('position_embedding.inner.weight')) {
    const { features, size } = placeFeatures(grid)
    const steps = features.length / size
    const out = Linear.of(weights, 'position_embedding.out')
    const inner = Linear.of(weights, 'position_embedding.inner')
    return { places: out.apply(gelu(inner.apply(features, steps)), steps), dim: out.outputs }
  }
  if (!weights.has('position_embedding.weight')) return { places: new Float32Array(0), dim: 0 }
  return { places: weights.get('position_embedding.weight'), dim: weights.shape('position_embedding.weight')[1] }
}

function plus(one: Float32Array, other: ArrayLike<number>): Float32Array {
  const sum = new Float32Array(one.length)
  for (let i = 0; i < sum.length; i++) sum[i] = one[i] + other[i]
  return sum
}
