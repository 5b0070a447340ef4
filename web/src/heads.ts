/** The output layer: features of a step -> the mixture that it is drawn from, as `hypermeter.play.heads`. */

import { Linear } from './layers'
import { normalised, type Mixture } from './mixture'
import type { Weights } from './weights'

export class Head {
  readonly components: number
  readonly ofWeights: Linear
  readonly ofLogits: Linear
  /** (components, heads, width), how recalled hits change the log odds; null for a model without. */
  readonly repeat: Float32Array | null
  readonly heads: number

  constructor(weights: Weights, name: string, readonly width: number) {
    const project = Linear.of(weights, `${name}.project`)
    this.components = project.outputs / (1 + width)
    this.ofWeights = project.slice(0, this.components)
    this.ofLogits = project.slice(this.components, project.outputs)
    this.repeat = weights.has(`${name}.repeat`) ? weights.get(`${name}.repeat`) : null
    this.heads = this.repeat ? weights.shape(`${name}.repeat`)[1] : 0
  }
}

/** What a plan adds to the scores of a step: the same map for all models, of rows that were steered. */
export interface Steered {
  /** (rows, inner), what the plan makes of the place and of what was played. */
  inner: Float32Array
  toWeights: Linear
  toLogits: Linear
}

/** The distributions of a step for a batch; log odds are computed when they are first read. */
class Batch {
  private all: Float32Array | null = null
  readonly weights: Float32Array

  constructor(
    readonly head: Head, readonly rows: number, readonly features: Float32Array, readonly recalled: Float32Array | null,
    readonly steered: Steered | null,
  ) {
    this.weights = head.ofWeights.apply(features, rows)
    if (steered) addSteering(steered.toWeights, steered.inner, rows, this.weights)
  }

  /** (rows, components, width). */
  logits(): Float32Array {
    if (this.all) return this.all
    const { head, rows, steered } = this
    const all = head.ofLogits.apply(this.features, rows)
    if (steered) addSteering(steered.toLogits, steered.inner, rows, all)
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < head.components; k++) this.addRecalled(row, k, all, (row * head.components + k) * head.width)
    }
    return (this.all = all)
  }

  /** Of one row and component, (width). */
  logitsOf(row: number, component: number): Float32Array {
    const { head, steered } = this
    const { width } = head
    const from = component * width
    if (this.all) return this.all.subarray((row * head.components + component) * width, (row * head.components + component + 1) * width)
    const size = head.ofLogits.inputs
    const found = head.ofLogits.slice(from, from + width).apply(this.features.subarray(row * size, (row + 1) * size), 1)
    if (steered) {
      const inner = steered.toLogits.inputs
      addSteering(steered.toLogits.slice(from, from + width), steered.inner.subarray(row * inner, (row + 1) * inner), 1, found)
    }
    this.addRecalled(row, component, found, 0)
    return found
  }

  private addRecalled(row: number, component: number, out: Float32Array, at: number): void {
    const { recalled, head } = this
    if (!recalled || !head.repeat) return
    const { heads, width } = head
    for (let v = 0; v < width; v++) {
      let sum = 0
      for (let h = 0; h < heads; h++) sum += recalled[(row * heads + h) * width + v] * head.repeat[(component * heads + h) * width + v]
      out[at + v] += sum
    }
  }
}

/** The bias is part of what a plan adds. */
function addSteering(map: Linear, inner: Float32Array, rows: number, out: Float32Array): void {
  map.addTo(out, inner, rows)
  for (let row = 0; row < rows; row++) for (let j = 0; j < map.outputs; j++) out[row * map.outputs + j] += map.bias[j]
}

/** The distribution of one row, widened to doubles when it is read. */
class RowMixture implements Mixture {
  readonly voices: number
  private ownWeights: Float64Array | null = null
  private ownLogits: Float64Array | null = null

  constructor(private readonly batch: Batch, private readonly row: number) {
    this.voices = batch.head.width
  }

  get logWeights(): Float64Array {
    const { components } = this.batch.head
    return (this.ownWeights ??= normalised(Float64Array.from(this.batch.weights.subarray(this.row * components, (this.row + 1) * components))))
  }

  get logits(): Float64Array {
    const size = this.batch.head.components * this.voices
    return (this.ownLogits ??= Float64Array.from(this.batch.logits().subarray(this.row * size, (this.row + 1) * size)))
  }

  logitsOf(component: number): ArrayLike<number> {
    return this.batch.logitsOf(this.row, component)
  }
}

/** The distributions of features (rows, hidden), one of each row. */
export function mixtures(
  head: Head, rows: number, features: Float32Array, recalled: Float32Array | null, steered: Steered | null,
): Mixture[] {
  const batch = new Batch(head, rows, features, recalled, steered)
  return Array.from({ length: rows }, (_, row) => new RowMixture(batch, row))
}
