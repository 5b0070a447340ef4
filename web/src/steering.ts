/** How a plan acts on a model: the embedding of its bars, and what it adds to a step; as `hypermeter.play.steering`. */

import type { Steered } from './heads'
import { columns, gelu, LayerNorm, Linear, transposed } from './layers'
import type { Asked } from './protocol'
import type { Weights } from './weights'

/** Knots between which a number of the plan is interpolated. */
const KNOTS = 9
/** Time constants, in bars, of what says how recently section or style changed. */
const FADES = [1, 4]
/** Bars after which such a change no longer shows. */
const SETTLED = 64
/** Of the numbers of a plan. */
const TEMPO = 0
const DENSITY = 1
/** Section and style. */
const LASTING_KINDS = 2

export class PlanEmbedding {
  private readonly tables: Float32Array[] = []
  private readonly numbers: Linear
  private readonly between: [LayerNorm, Linear, Linear]
  private readonly norm: LayerNorm
  private readonly inner: number
  /** Numbers of an embedded bar: the embedding, the newness, what is asked of the density, and whether anything is. */
  readonly dim: number

  constructor(weights: Weights, name: string, private readonly voices: number) {
    for (let kind = 0; weights.has(`${name}.embed.${kind}.weight`); kind++) this.tables.push(weights.get(`${name}.embed.${kind}.weight`))
    this.numbers = Linear.of(weights, `${name}.numbers`)
    this.between = [
      new LayerNorm(weights, `${name}.between.0`), Linear.of(weights, `${name}.between.1`), Linear.of(weights, `${name}.between.3`),
    ]
    this.norm = new LayerNorm(weights, `${name}.norm`)
    this.inner = this.numbers.outputs
    this.dim = this.inner + FADES.length + 3
  }

  /** The bars of a plan, and the last one until it no longer changes, (bars, dim). */
  embed({ labels, numbers }: Asked): { bars: number; embedded: Float32Array } {
    const kinds = this.tables.length
    const kept = this.numbers.inputs / (KNOTS + 1)
    const given = labels.length / kinds
    const bars = given + SETTLED
    const embedded = new Float32Array(bars * this.dim)
    let since = 0
    for (let bar = 0; bar < bars; bar++) {
      const from = Math.min(bar, given - 1)
      const own = labels.slice(from * kinds, (from + 1) * kinds)
      const before = bar && labels.slice(Math.min(bar - 1, given - 1) * kinds)
      const isNew = !before || own.slice(0, LASTING_KINDS).some((label, kind) => label !== before[kind])
      since = isNew ? 0 : since + 1
      embedded.set(this.bar(own, numbers.slice(from * kept, (from + 1) * kept), since), bar * this.dim)
    }
    return { bars, embedded }
  }

  private bar(labels: number[], numbers: number[], since: number): Float32Array {
    const found = new Float32Array(this.dim)
    const isGiven = numbers.map((value) => !Number.isNaN(value))
    if (!isGiven.includes(true) && !labels.some((label) => label > 0)) return found
    const { inner } = this
    const hitsPerStep = numbers[DENSITY] * this.voices
    const scaled = numbers.map((value, i) => (i === TEMPO ? (Math.log2(value / 120) + 1.5) / 3 : i === DENSITY ? hitsPerStep / 4 : value))
    const interpolated = new Float32Array(numbers.length * (KNOTS + 1))
    scaled.forEach((value, i) => {
      if (!isGiven[i]) return
      const place = Math.min(Math.max(value, 0), 1) * (KNOTS - 1)
      for (let knot = 0; knot < KNOTS; knot++) interpolated[i * (KNOTS + 1) + knot] = Math.max(1 - Math.abs(place - knot), 0)
      interpolated[i * (KNOTS + 1) + KNOTS] = 1
    })
    const total = this.numbers.apply(interpolated, 1)
    labels.forEach((label, kind) => { for (let i = 0; i < inner; i++) total[i] += this.tables[kind][label * inner + i] })
    const [norm, first, second] = this.between
    second.addTo(total, gelu(first.apply(norm.apply(total.slice(), 1), 1)), 1)
    for (let i = 0; i < inner; i++) total[i] += second.bias[i]
    found.set(this.norm.apply(total, 1))
    FADES.forEach((bars, i) => { found[inner + i] = Math.exp(-since / bars) })
    found[this.dim - 3] = isGiven[DENSITY] ? hitsPerStep : 0
    found[this.dim - 2] = Number(isGiven[DENSITY])
    found[this.dim - 1] = 1
    return found
  }
}

/** How an embedded bar of a plan changes the scores of a step and the weights of recalled hits, on one grid. */
export class Steering {
  private readonly ofPlace: Float32Array
  /** (width + 2, inner). */
  private readonly ofPlayed: Float32Array
  private readonly ofPlan: Linear
  private readonly toWeights: Linear
  private readonly toLogits: Linear
  private readonly toRecalled: Linear
  private readonly inner: number

  /** @param places (steps of a phrase, dim), the embedded places */
  constructor(
    weights: Weights, name: string, places: Float32Array, dim: number, private readonly width: number, private readonly voices: number,
    components: number, private readonly stepsPerBar: number,
  ) {
    const map = Linear.of(weights, `${name}.step.inner`)
    const scores = components * (1 + width)
    this.inner = map.outputs
    const ofPlace = new Linear(columns(map.weight, map.inputs, 0, dim), map.bias, dim, map.outputs)
    this.ofPlace = ofPlace.apply(places, dim ? places.length / dim : 1)
    this.ofPlayed = transposed(columns(map.weight, map.inputs, dim, dim + width + 2), width + 2)
    this.ofPlan = map.columns(dim + width + 2, map.inputs)
    const out = Linear.of(weights, `${name}.step.out`)
    this.toWeights = out.slice(0, components)
    this.toLogits = out.slice(components, scores)
    this.toRecalled = out.slice(scores, out.outputs)
  }

  /**
   * What a bar of the plan adds to the scores of a step.
   *
   * @param asked the embedded bar, for all rows; something is asked of it
   * @param soFar (rows, width), hits of the bar before the step
   * @param recalled (rows, heads, width); it is replaced by what the plan makes of it
   */
  steer(
    asked: Float32Array, soFar: Float32Array, rows: number, position: number, recalled: Float32Array | null,
  ): { steered: Steered; recalled: Float32Array | null } {
    const { inner, width } = this
    const ofPlan = this.ofPlan.apply(asked, 1)
    const place = (position * inner) % this.ofPlace.length
    const [hitsPerStep, isDense] = [asked[asked.length - 3], asked[asked.length - 2]]
    const stepsLeft = this.stepsPerBar - (position % this.stepsPerBar)
    const all = new Float32Array(rows * inner)
    for (let row = 0; row < rows; row++) {
      const own = all.subarray(row * inner, (row + 1) * inner)
      for (let j = 0; j < inner; j++) own[j] = ofPlan[j] + this.ofPlace[place + j]
      let played = 0
      for (let v = 0; v < this.voices; v++) played += soFar[row * width + v]
      const hitsLeft = (hitsPerStep * this.stepsPerBar - played) * isDense
      for (let v = 0; v < width; v++) this.add(own, v, 0.1 * soFar[row * width + v])
      this.add(own, width, 0.1 * hitsLeft)
      this.add(own, width + 1, hitsLeft / stepsLeft)
    }
    gelu(all)
    const steered = { inner: all, toWeights: this.toWeights, toLogits: this.toLogits }
    const heads = this.toRecalled.outputs
    if (!recalled || !heads) return { steered, recalled }
    const changes = this.toRecalled.apply(all, rows)
    const changed = recalled.map((value, i) => value * (1 + Math.max(changes[Math.floor(i / width)], -1)))
    return { steered, recalled: changed }
  }

  private add(out: Float32Array, input: number, factor: number): void {
    if (!factor) return
    for (let j = 0, at = input * this.inner; j < out.length; j++) out[j] += factor * this.ofPlayed[at + j]
  }
}
