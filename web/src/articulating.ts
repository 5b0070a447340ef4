/** How hits are articulated: strokes of a cell and openness of the hi-hat, as `hypermeter.play.articulating`, one row. */

import { addTotals, discounted, scaleOf, tempoInputs } from './expressing'
import { geluTanh, Linear } from './layers'
import type { Bins } from './meta'
import { logSumExp } from './mixture'
import { ARTICULATION, uniforms } from './rng'
import type { Stroke } from './song'
import type { Weights } from './weights'

/** Strokes of a cell that are told apart. */
export const MOST = 4
const GAP: Bins = { lowest: 0, count: 64, per_unit: 64 }
const RATIO: Bins = { lowest: 1, count: 32, per_unit: 32 }
const PEDAL: Bins = { lowest: 0, count: 128, per_unit: 127 }
const COMPONENTS = 3
/** Numbers that the network gives for each voice: count, before, gap, ratio, openness. */
const SIZES = [MOST, MOST, 2 * (MOST - 1), 4, 3 * COMPONENTS]
const STARTS = SIZES.map((_, i) => SIZES.slice(0, i).reduce((a, b) => a + b, 0))
const SIZE = SIZES.reduce((a, b) => a + b, 0)
const MEMORY_STEPS = [4, 16, 64]
/** Sums of hits, further strokes, known openness and openness. */
const SUMS = 4
const PRIOR_HITS = 0.25
/** Random numbers of a cell. */
const NUMBERS = 2 + 2 * (MOST - 1) + 2
const EDGE = 1e-6
/** The largest offset, in single precision. */
const LATEST_STROKE = 0.5 - 1 / 64
/** Steps after which what was played counts for less than a twenty-thousandth in the sums. */
export const FORGOTTEN_STEPS = 640

/** Of a hit; NaN is not known. Gaps and ratios are of the further strokes, in the order of time. */
export interface Articulation {
  count: number
  before: number
  gaps: number[]
  ratios: number[]
  openness: number
}

/** Sums of what was played, discounted, (spans, sums, voices + 1). */
export type ArticulationState = Float32Array

/** How cells of a step are played, with their further strokes. */
export interface Played {
  velocity: ArrayLike<number>
  offset: ArrayLike<number>
}

export class ArticulationNetwork {
  private readonly given: Linear
  private readonly heard: Linear
  private readonly inner: Linear
  private readonly out: Linear
  private readonly learnsOpenness: boolean
  private readonly discounts = [0, ...MEMORY_STEPS.map((steps) => Math.exp(-1 / steps))]

  constructor(weights: Weights, name: string, readonly voices: number) {
    this.given = Linear.of(weights, `${name}.given`)
    this.heard = Linear.of(weights, `${name}.heard`)
    this.inner = Linear.of(weights, `${name}.inner`)
    this.out = Linear.of(weights, `${name}.out`)
    this.learnsOpenness = weights.get(`${name}.learns_openness`)[0] > 0
  }

  static of(weights: Weights, name: string, voices: number): ArticulationNetwork | null {
    return weights.has(`${name}.learns_openness`) ? new ArticulationNetwork(weights, name, voices) : null
  }

  start(): ArticulationState {
    return new Float32Array(this.discounts.length * SUMS * (this.voices + 1))
  }

  /**
   * The articulations of a step, drawn but where they are known, and the state after it.
   *
   * @param features of the drum network before the step
   * @param position steps before this one
   * @param known of each voice; its strokes stay where their count is known, its openness where that is; null draws all
   */
  play(
    features: Float32Array, hits: Uint8Array, { velocity, offset }: Played, tempo: number, seed: number, position: number,
    state: ArticulationState, known: (Articulation | null)[] | null,
  ): { made: (Articulation | null)[]; state: ArticulationState } {
    let made: (Articulation | null)[] = Array.from(hits, () => null)
    if (hits.some((hit) => hit > 0)) {
      const numbers = this.predict(features, hits, velocity, offset, tempo, state)
      const drawn = uniforms(seed, ARTICULATION, 0, position, NUMBERS * this.voices)
      made = Array.from(hits, (hit, v) => {
        if (!hit) return null
        const own = this.draw(numbers.subarray(v * SIZE, (v + 1) * SIZE), drawn.subarray(v * NUMBERS, (v + 1) * NUMBERS))
        const told = known?.[v]
        if (told && !Number.isNaN(told.count)) Object.assign(own, { count: told.count, before: told.before, gaps: told.gaps, ratios: told.ratios })
        if (told && !Number.isNaN(told.openness)) own.openness = told.openness
        return own
      })
    }
    return { made, state: this.advance(made, state) }
  }

  /** The state after a step with these articulations. */
  advance(made: (Articulation | null)[], state: ArticulationState): ArticulationState {
    const size = this.voices + 1
    const values = new Float32Array(SUMS * size)
    made.forEach((own, v) => {
      if (!own) return
      if (!Number.isNaN(own.count)) [values[v], values[size + v]] = [1, own.count - 1]
      if (!Number.isNaN(own.openness)) [values[2 * size + v], values[3 * size + v]] = [1, own.openness]
    })
    addTotals(values, size)
    return discounted(state, this.discounts, values)
  }

  private predict(
    features: Float32Array, hits: Uint8Array, velocity: ArrayLike<number>, offset: ArrayLike<number>, tempo: number, state: ArticulationState,
  ): Float32Array {
    const { voices } = this
    const given = new Float32Array(this.given.inputs)
    given.set(features)
    for (let v = 0; v < voices; v++) {
      if (!hits[v]) continue
      const at = features.length + v
      ;[given[at], given[at + voices], given[at + 2 * voices]] = [1, velocity[v], offset[v]]
    }
    given.set(tempoInputs(tempo), features.length + 3 * voices)
    const size = voices + 1
    const averages = state.map((sum, i) => {
      const span = i - (i % (SUMS * size))
      const row = Math.floor((i - span) / size)
      return sum / (state[span + (row < 2 ? 0 : 2) * size + (i % size)] + PRIOR_HITS)
    })
    const x = this.given.apply(given, 1)
    this.heard.addTo(x, averages, 1)
    return this.out.apply(geluTanh(this.inner.apply(geluTanh(x), 1)), 1)
  }

  private draw(raw: Float32Array, drawn: Float64Array): Articulation {
    const part = (number: number) => Array.from(raw.subarray(STARTS[number], STARTS[number] + SIZES[number]))
    const count = choose(part(0), drawn[0]) + 1
    const before = choose(part(1).map((logit, place) => (place < count ? logit : -Infinity)), drawn[1])
    const [gap, ratio] = [part(2), part(3)]
    const ofCount = Math.max(count - 2, 0)
    const gaps: number[] = []
    const ratios: number[] = []
    for (let further = 0; further < count - 1; further++) {
      gaps.push(Math.fround(logistic(GAP, 0.25 + gap[ofCount] / 8, gap[MOST - 1 + ofCount], drawn[2 + further])))
      const side = further < before ? 0 : 1
      ratios.push(Math.fround(logistic(RATIO, 0.6 + ratio[side] / 4, ratio[2 + side], drawn[1 + MOST + further])))
    }
    let openness = NaN
    if (this.learnsOpenness) {
      const values = part(4)
      const k = choose(values.slice(0, COMPONENTS), drawn[NUMBERS - 2])
      openness = Math.fround(logistic(PEDAL, 0.5 + values[COMPONENTS + k] / 4, values[2 * COMPONENTS + k], drawn[NUMBERS - 1]))
    }
    return { count, before: count > 1 ? before : NaN, gaps, ratios, openness }
  }
}

/** The first class whose cumulative probability is above the number. */
function choose(logits: number[], u: number): number {
  const norm = logSumExp(logits)
  let sum = 0
  for (let i = 0; i < logits.length - 1; i++) {
    sum += Math.exp(logits[i] - norm)
    if (u < sum) return i
  }
  return logits.length - 1
}

function logistic(bins: Bins, mean: number, rawScale: number, u: number): number {
  const inside = Math.min(Math.max(u, EDGE), 1 - EDGE)
  const value = mean + scaleOf(rawScale) * Math.log(inside / (1 - inside))
  const bin = Math.min(Math.max(Math.floor(value * bins.per_unit - bins.lowest + 0.5), 0), bins.count - 1)
  return (bin + bins.lowest) / bins.per_unit
}

/** The articulation of a hit, of its further strokes those nearest to it. */
export function articulationOf(velocity: number, offset: number, strokes: readonly Stroke[], openness: number): Articulation {
  const near = strokes.map((stroke) => ({ distance: stroke.offset - offset, loudness: stroke.velocity }))
    .map((stroke, place) => ({ ...stroke, place }))
    .sort((a, b) => Math.abs(a.distance) - Math.abs(b.distance) || a.place - b.place).slice(0, MOST - 1).sort((a, b) => a.place - b.place)
  const before = near.filter(({ distance }) => distance < 0).length
  const times = near.map(({ distance }) => distance)
  times.splice(before, 0, 0)
  return {
    count: near.length + 1, before: near.length ? before : NaN, openness,
    gaps: times.slice(1).map((time, i) => Math.fround(time - times[i])),
    ratios: near.map(({ loudness }) => Math.fround(Math.min(loudness / Math.max(velocity, 1e-3), 1))),
  }
}

/** The further strokes of a hit, within its cell: gaps that leave it shrink. */
export function strokesOf({ count, before, gaps, ratios }: Articulation, velocity: number, offset: number, isFirst: boolean): Stroke[] {
  if (!(count > 1)) return []
  const low = isFirst ? 0 : -0.5
  const latest = Math.max(offset, LATEST_STROKE)
  const early: number[] = []
  for (let i = before - 1, sum = 0; i >= 0; i--) early.unshift((sum -= gaps[i]))
  const late: number[] = []
  for (let i = before, sum = 0; i < count - 1; i++) late.push((sum += gaps[i]))
  const fitted = (side: number[], room: number) => {
    const most = Math.max(0, ...side.map(Math.abs))
    const factor = most ? Math.min(1, Math.max(room, 0) / most) : 1
    return side.map((time) => time * factor)
  }
  return [...fitted(early, offset - low), ...fitted(late, latest - offset)].map((time, i) => ({
    offset: Math.fround(Math.min(Math.max(offset + time, low), latest)),
    velocity: Math.fround(Math.min(Math.max(velocity * ratios[i], 1 / 127), 1)),
    openness: NaN,
  })).sort((a, b) => a.offset - b.offset || a.velocity - b.velocity)
}
