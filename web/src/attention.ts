/** Attention from a step to the same step of earlier bars, as `hypermeter.play.layers.BarAttention`. */

import { columns, Linear } from './layers'
import type { Weights } from './weights'

/** What is remembered of a step of one bar: its key, its value, and the hits that were played. */
export type Entry = Float32Array

/** The entries of a row at a step of the bar, the most recent last; not changed once made. */
export type Entries = Entry[]

export class BarAttention {
  readonly heads: number
  private readonly hidden: number
  private readonly headSize: number
  private readonly ofState: Linear
  /** (width, hidden): what a hit adds to the value. */
  private readonly ofPlayed: Float32Array
  private readonly nullValue: Float32Array
  private readonly bias: Float32Array
  private readonly out: Linear

  constructor(weights: Weights, name: string, private readonly width: number, private readonly window: number) {
    const nullKey = weights.get(`${name}.null_key`)
    this.nullValue = weights.get(`${name}.null_value`);
    [this.heads, this.headSize] = weights.shape(`${name}.null_key`)
    const query = Linear.of(weights, `${name}.query`)
    const key = Linear.of(weights, `${name}.key`)
    const value = Linear.of(weights, `${name}.value`)
    const hidden = (this.hidden = query.outputs)
    // One map of the state to its query, its key, its part of the value, and its scores with the null keys.
    const outputs = 3 * hidden + this.heads
    const matrix = new Float32Array(outputs * hidden)
    const bias = new Float32Array(outputs)
    const scale = 1 / Math.sqrt(this.headSize)
    matrix.set(query.weight.map((factor) => factor * scale))
    bias.set(query.bias.map((factor) => factor * scale))
    matrix.set(key.weight, hidden * hidden)
    bias.set(key.bias, hidden)
    matrix.set(columns(value.weight, value.inputs, 0, hidden), 2 * hidden * hidden)
    bias.set(value.bias, 2 * hidden)
    for (let head = 0; head < this.heads; head++) {
      const row = 3 * hidden + head
      for (let i = 0; i < this.headSize; i++) {
        const from = head * this.headSize + i
        const factor = nullKey[from] * scale
        for (let j = 0; j < hidden; j++) matrix[row * hidden + j] += factor * query.weight[from * hidden + j]
        bias[row] += factor * query.bias[from]
      }
    }
    this.ofState = new Linear(matrix, bias, hidden, outputs)
    this.ofPlayed = new Float32Array(width * hidden)
    for (let j = 0; j < hidden; j++) for (let v = 0; v < width; v++) this.ofPlayed[v * hidden + j] = value.weight[j * value.inputs + hidden + v]
    this.bias = weights.get(`${name}.distance_bias`)
    this.out = Linear.of(weights, `${name}.out`)
  }

  /** What a state asks, and what is remembered of it, (rows, columns). */
  read(hidden: Float32Array, rows: number): Float32Array {
    return this.ofState.apply(hidden, rows)
  }

  /** The entries of a row with one bar more: of the state before the step, and of the step that was played. */
  remember(ofState: Float32Array, row: number, played: Uint8Array, entries: Entries): Entries {
    const { hidden, width } = this
    const start = row * this.ofState.outputs
    const entry = new Float32Array(2 * hidden + width)
    entry.set(ofState.subarray(start + hidden, start + 3 * hidden))
    for (let v = 0; v < width; v++) {
      if (!played[row * width + v]) continue
      entry[2 * hidden + v] = 1
      for (let j = 0, at = v * hidden; j < hidden; j++) entry[hidden + j] += this.ofPlayed[at + j]
    }
    const kept = entries.length < this.window ? entries.slice() : entries.slice(1)
    kept.push(entry)
    return kept
  }

  /**
   * Adds what is read from earlier bars to `hidden` (rows, hidden).
   *
   * @returns the hits averaged by the weights of each head, (rows, heads, width)
   */
  recall(ofState: Float32Array, entries: Entries[], hidden: Float32Array): Float32Array {
    const { heads, headSize, width, window } = this
    const size = this.hidden
    const rows = entries.length
    const recalled = new Float32Array(rows * heads * width)
    const attended = new Float32Array(rows * size)
    const scores = new Float64Array(window + 1)
    for (let row = 0; row < rows; row++) {
      const own = entries[row]
      const count = own.length
      const start = row * this.ofState.outputs
      for (let head = 0; head < heads; head++) {
        const from = head * headSize
        const query = start + from
        let most = (scores[0] = ofState[start + 3 * size + head])
        for (let bar = 0; bar < count; bar++) {
          const entry = own[bar]
          let score = this.bias[head * window + count - 1 - bar]
          for (let i = 0; i < headSize; i++) score += ofState[query + i] * entry[from + i]
          scores[bar + 1] = score
          if (score > most) most = score
        }
        let total = 0
        for (let bar = 0; bar <= count; bar++) total += scores[bar] = Math.exp(scores[bar] - most)
        const at = row * size + from
        const read = (row * heads + head) * width
        const ofNone = scores[0] / total
        for (let i = 0; i < headSize; i++) attended[at + i] = ofNone * this.nullValue[from + i]
        for (let bar = 0; bar < count; bar++) {
          const share = scores[bar + 1] / total
          const entry = own[bar]
          for (let i = 0, value = size + from; i < headSize; i++) attended[at + i] += share * entry[value + i]
          for (let v = 0, hit = 2 * size; v < width; v++) recalled[read + v] += share * entry[hit + v]
        }
      }
    }
    const out = this.out.apply(attended, rows)
    for (let i = 0; i < out.length; i++) hidden[i] += out[i]
    return recalled
  }
}
