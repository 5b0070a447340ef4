/** Velocity and offset of the hits of a step, one row: `hypermeter.play.expressing.ExpressionNetwork`. */

import { logSumExp } from './mixture'
import { geluTanh, Linear, Recurrent } from './layers'
import type { Weights } from './weights'

/** Time constants, in bars, of running averages of past hits, and of those over the same step of earlier bars. */
const MEMORY_BARS = [0.25, 1, 4, 16]
const PLACE_BARS = [1, 8]
/** Added to the count of hits, which may be 0, where it divides. */
const PRIOR_HITS = 0.25
/** Sums of hits, of velocities and of offsets. */
const SUMS = 3

/** Of one component: means and scales of the logistics of each voice. */
export interface Logistics {
  velocityMean: Float64Array
  velocityScale: Float64Array
  offsetMean: Float64Array
  offsetScale: Float64Array
}

/** Of one step: K components, each with a logistic for velocity and for offset of each of V voices. */
export interface Distribution {
  logWeights: Float64Array
  of(component: number): Logistics
}

/** What was played before, as a value. */
export interface ExpressionState {
  hidden: Float32Array[]
  /** (spans, sums, voices + 1), discounted, of each voice and of all. */
  sums: Float32Array
  /** The same over one step of the bar only, for each step of the bar. */
  places: Float32Array[]
}

/** 0 where the tempo is that of a march. */
export function tempoInputs(tempo: number): [number, number] {
  return Number.isNaN(tempo) ? [0, 0] : [Math.log2(tempo / 120), 1]
}

/** The scale of a logistic, between .0025 and 1. */
export function scaleOf(raw: number): number {
  return Math.exp(3 * Math.tanh(raw / 3) - 3)
}

export class ExpressionNetwork {
  private readonly given: Linear
  private readonly heard: Linear
  private readonly rnn: Recurrent
  private readonly inner: Linear
  private readonly weigh: Linear
  private readonly out: Linear
  private readonly components: number
  private readonly discounts: number[]
  private readonly placeDiscounts = PLACE_BARS.map((bars) => Math.exp(-1 / bars))

  constructor(weights: Weights, name: string, private readonly voices: number, private readonly stepsPerBar: number) {
    this.given = Linear.of(weights, `${name}.given`)
    this.heard = Linear.of(weights, `${name}.heard`)
    this.rnn = new Recurrent(weights, `${name}.rnn`)
    this.inner = Linear.of(weights, `${name}.inner`)
    const out = Linear.of(weights, `${name}.out`)
    this.components = out.outputs / (1 + 4 * voices)
    this.weigh = out.slice(0, this.components)
    this.out = out.slice(this.components, out.outputs)
    this.discounts = [0, ...MEMORY_BARS.map((bars) => Math.exp(-1 / (bars * stepsPerBar)))]
  }

  start(): ExpressionState {
    const size = SUMS * (this.voices + 1)
    const place = new Float32Array(PLACE_BARS.length * size)
    return {
      hidden: this.rnn.start(1), sums: new Float32Array(this.discounts.length * size), places: new Array(this.stepsPerBar).fill(place),
    }
  }

  /**
   * The distribution of a step, and the state to call `advance` with.
   *
   * @param features of the drum network before the step
   * @param position steps before this one
   */
  predict(
    features: Float32Array, hits: Uint8Array, tempo: number, state: ExpressionState, position: number,
  ): { dist: Distribution; state: ExpressionState } {
    const given = new Float32Array(this.given.inputs)
    given.set(features)
    given.set(hits, features.length)
    given.set(tempoInputs(tempo), features.length + hits.length)
    const x = this.given.apply(given, 1)
    this.heard.addTo(x, averages([state.sums, state.places[position % this.stepsPerBar]], this.voices + 1), 1)
    geluTanh(x)
    const hidden = this.rnn.step(x, state.hidden, 1)
    const both = new Float32Array(this.inner.inputs)
    both.set(hidden[hidden.length - 1])
    both.set(x, this.rnn.size)
    let inner: Float32Array | null = null
    const innerOf = () => (inner ??= geluTanh(this.inner.apply(both, 1)))
    const weights = () => this.logWeights(innerOf())
    const dist = { get logWeights() { return weights() }, of: (component: number) => this.logistics(innerOf(), component) }
    return { dist, state: { ...state, hidden } }
  }

  private logWeights(inner: Float32Array): Float64Array {
    const scores = Float64Array.from(this.weigh.apply(inner, 1))
    const norm = logSumExp(scores)
    return scores.map((score) => score - norm)
  }

  private logistics(inner: Float32Array, component: number): Logistics {
    const { voices, components } = this
    const raw = (part: number) => {
      const from = (part * components + component) * voices
      return Float64Array.from(this.out.slice(from, from + voices).apply(inner, 1))
    }
    return {
      velocityMean: raw(0).map((value) => 0.5 + value / 4),
      velocityScale: raw(1).map(scaleOf),
      offsetMean: raw(2).map((value) => value / 4),
      offsetScale: raw(3).map(scaleOf),
    }
  }

  /** The state after a step with these hits, velocities and offsets; NaN counts as 0. */
  advance(hits: Uint8Array, velocity: ArrayLike<number>, offset: ArrayLike<number>, state: ExpressionState, position: number): ExpressionState {
    const size = this.voices + 1
    const values = new Float32Array(SUMS * size)
    for (let v = 0; v < this.voices; v++) {
      if (!hits[v]) continue
      values[v] = 1
      values[size + v] = velocity[v] || 0
      values[2 * size + v] = offset[v] || 0
    }
    addTotals(values, size)
    const place = position % this.stepsPerBar
    const places = state.places.slice()
    places[place] = discounted(places[place], this.placeDiscounts, values)
    return { ...state, sums: discounted(state.sums, this.discounts, values), places }
  }
}

/** Sets the last of each row to the sum of the others. */
export function addTotals(values: Float32Array, size: number): void {
  for (let row = 0; row < values.length; row += size) for (let v = 0; v < size - 1; v++) values[row + size - 1] += values[row + v]
}

/** Sums of each span, times its discount, and what is new. */
export function discounted(sums: Float32Array, discounts: number[], values: Float32Array): Float32Array {
  return sums.map((sum, i) => sum * discounts[Math.floor(i / values.length)] + values[i % values.length])
}

/** Of each span: the share of hits, and the means of velocities and offsets. */
function averages(parts: Float32Array[], size: number): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    for (let span = 0; span < part.length; span += SUMS * size) {
      for (let row = 0; row < SUMS; row++) {
        for (let v = 0; v < size; v++) all[at++] = part[span + row * size + v] / (part[span + v] + PRIOR_HITS)
      }
    }
  }
  return all
}
