/**
 * Layers of a trained model over typed arrays, as `hypermeter.play.layers` has them.
 *
 * Arrays of a batch are (rows, columns), row by row. Sums are made in doubles and kept in single precision. Weights are
 * (outputs, inputs), as PyTorch stores them.
 */

import { kernel } from './kernel'
import type { Weights } from './weights'

const EPSILON = 1e-5

/**
 * Writes x W^T + b, or adds x W^T to what stands in `out`.
 *
 * Four rows, or four outputs of the last rows, are summed at once: a number that was read serves four products, and sums
 * do not wait for one another.
 *
 * @param bias null adds to `out`
 */
export function affine(
  weight: Float32Array, bias: Float32Array | null, inputs: number, outputs: number, x: Float32Array, rows: number, out: Float32Array,
): void {
  let row = 0
  for (; row + 4 <= rows; row += 4) {
    const x0 = row * inputs
    const x1 = x0 + inputs
    const x2 = x1 + inputs
    const x3 = x2 + inputs
    const at = row * outputs
    for (let j = 0; j < outputs; j++) {
      let a = 0
      let b = 0
      let c = 0
      let d = 0
      for (let i = 0, w = j * inputs; i < inputs; i++, w++) {
        const factor = weight[w]
        a += x[x0 + i] * factor
        b += x[x1 + i] * factor
        c += x[x2 + i] * factor
        d += x[x3 + i] * factor
      }
      const o = at + j
      out[o] = a + (bias ? bias[j] : out[o])
      out[o + outputs] = b + (bias ? bias[j] : out[o + outputs])
      out[o + 2 * outputs] = c + (bias ? bias[j] : out[o + 2 * outputs])
      out[o + 3 * outputs] = d + (bias ? bias[j] : out[o + 3 * outputs])
    }
  }
  for (; row < rows; row++) {
    const start = row * inputs
    const at = row * outputs
    let j = 0
    for (; j + 4 <= outputs; j += 4) {
      const w0 = j * inputs
      const w1 = w0 + inputs
      const w2 = w1 + inputs
      const w3 = w2 + inputs
      let a = 0
      let b = 0
      let c = 0
      let d = 0
      for (let i = 0; i < inputs; i++) {
        const value = x[start + i]
        a += value * weight[w0 + i]
        b += value * weight[w1 + i]
        c += value * weight[w2 + i]
        d += value * weight[w3 + i]
      }
      const o = at + j
      out[o] = a + (bias ? bias[j] : out[o])
      out[o + 1] = b + (bias ? bias[j + 1] : out[o + 1])
      out[o + 2] = c + (bias ? bias[j + 2] : out[o + 2])
      out[o + 3] = d + (bias ? bias[j + 3] : out[o + 3])
    }
    for (; j < outputs; j++) {
      let sum = 0
      for (let i = 0, w = j * inputs; i < inputs; i++, w++) sum += x[start + i] * weight[w]
      out[at + j] = sum + (bias ? bias[j] : out[at + j])
    }
  }
}

/** Products below so many numbers of a matrix are made at once, without the way to the kernel and back. */
const SMALL = 4096

/** An affine map of rows. */
export class Linear {
  /** Of the matrix in the kernel; null before its first use there. */
  private place: number | null = null

  constructor(readonly weight: Float32Array, readonly bias: Float32Array, readonly inputs: number, readonly outputs: number) {}

  /** The map of an `nn.Linear`, with or without a bias. */
  static of(weights: Weights, name: string): Linear {
    const [outputs, inputs] = weights.shape(`${name}.weight`)
    const bias = weights.has(`${name}.bias`) ? weights.get(`${name}.bias`) : new Float32Array(outputs)
    return new Linear(weights.get(`${name}.weight`), bias, inputs, outputs)
  }

  /** Of some inputs only, without the bias. */
  columns(from: number, to: number): Linear {
    return new Linear(columns(this.weight, this.inputs, from, to), new Float32Array(this.outputs), to - from, this.outputs)
  }

  /** To some outputs only. */
  slice(from: number, to: number): Linear {
    const { inputs } = this
    return new Linear(this.weight.subarray(from * inputs, to * inputs), this.bias.subarray(from, to), inputs, to - from)
  }

  apply(x: Float32Array, rows: number): Float32Array {
    const out = new Float32Array(rows * this.outputs)
    this.multiply(this.bias, x, rows, out)
    return out
  }

  private multiply(bias: Float32Array | null, x: Float32Array, rows: number, out: Float32Array): void {
    const { weight, inputs, outputs } = this
    if (!kernel || weight.length < SMALL) affine(weight, bias, inputs, outputs, x, rows, out)
    else kernel.affine((this.place ??= kernel.keep(weight, inputs, outputs)), bias, inputs, outputs, x, rows, out)
  }

  /** Adds x W^T to `out`. */
  addTo(out: Float32Array, x: Float32Array, rows: number): void {
    this.multiply(null, x, rows, out)
  }
}

/** Columns [from, to) of a matrix with so many. */
export function columns(matrix: Float32Array, count: number, from: number, to: number): Float32Array {
  const rows = matrix.length / count
  const found = new Float32Array(rows * (to - from))
  for (let row = 0; row < rows; row++) found.set(matrix.subarray(row * count + from, row * count + to), row * (to - from))
  return found
}

export function transposed(matrix: Float32Array, count: number): Float32Array {
  const rows = matrix.length / count
  const found = new Float32Array(matrix.length)
  for (let row = 0; row < rows; row++) for (let i = 0; i < count; i++) found[i * rows + row] = matrix[row * count + i]
  return found
}

/** Parts of a batch side by side. */
export function beside(parts: [Float32Array, number][], rows: number): Float32Array {
  const width = parts.reduce((sum, [, size]) => sum + size, 0)
  const found = new Float32Array(rows * width)
  let at = 0
  for (const [part, size] of parts) {
    for (let row = 0; row < rows; row++) found.set(part.subarray(row * size, (row + 1) * size), row * width + at)
    at += size
  }
  return found
}

/** Normalisation of each row to mean 0 and variance 1, then a gain and a bias. */
export class LayerNorm {
  private readonly gain: Float32Array
  private readonly bias: Float32Array

  constructor(weights: Weights, name: string) {
    this.gain = weights.get(`${name}.weight`)
    this.bias = weights.get(`${name}.bias`)
  }

  /** Changes `x` itself. */
  apply(x: Float32Array, rows: number): Float32Array {
    const size = this.gain.length
    for (let row = 0; row < rows; row++) {
      const start = row * size
      let mean = 0
      for (let i = 0; i < size; i++) mean += x[start + i]
      mean /= size
      let squares = 0
      for (let i = 0; i < size; i++) squares += (x[start + i] - mean) ** 2
      const scale = 1 / Math.sqrt(squares / size + EPSILON)
      for (let i = 0; i < size; i++) x[start + i] = (x[start + i] - mean) * scale * this.gain[i] + this.bias[i]
    }
    return x
  }
}

/** Stacked GRU layers. The state is an array (rows, size) for each layer. */
export class Recurrent {
  readonly size: number
  readonly input: Linear
  private readonly into: Linear[] = []
  private readonly back: Linear[] = []

  constructor(weights: Weights, name: string) {
    const linear = (direction: string, layer: number) => {
      const matrix = `${name}.rnn.weight_${direction}_l${layer}`
      const [outputs, inputs] = weights.shape(matrix)
      return new Linear(weights.get(matrix), weights.get(`${name}.rnn.bias_${direction}_l${layer}`), inputs, outputs)
    }
    for (let layer = 0; weights.has(`${name}.rnn.weight_ih_l${layer}`); layer++) {
      this.into.push(linear('ih', layer))
      this.back.push(linear('hh', layer))
    }
    this.size = this.back[0].inputs
    this.input = this.into[0]
  }

  start(rows: number): Float32Array[] {
    return this.into.map(() => new Float32Array(rows * this.size))
  }

  step(x: Float32Array, state: Float32Array[], rows: number): Float32Array[] {
    return this.stepFrom(this.input.apply(x, rows), state, rows)
  }

  /** The same, given the first layer's map of the element. */
  stepFrom(into: Float32Array, state: Float32Array[], rows: number): Float32Array[] {
    const after: Float32Array[] = []
    for (let layer = 0; layer < this.into.length; layer++) {
      if (layer) into = this.into[layer].apply(after[layer - 1], rows)
      after.push(this.cell(into, this.back[layer].apply(state[layer], rows), state[layer], rows))
    }
    return after
  }

  private cell(into: Float32Array, back: Float32Array, hidden: Float32Array, rows: number): Float32Array {
    const { size } = this
    const after = new Float32Array(rows * size)
    for (let row = 0; row < rows; row++) {
      const gates = row * 3 * size
      for (let i = 0; i < size; i++) {
        const at = gates + i
        const reset = 1 / (1 + Math.exp(-(into[at] + back[at])))
        const keep = 1 / (1 + Math.exp(-(into[at + size] + back[at + size])))
        const made = Math.tanh(into[at + 2 * size] + reset * back[at + 2 * size])
        after[row * size + i] = made + keep * (hidden[row * size + i] - made)
      }
    }
    return after
  }
}

const ERF = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]
const ERF_P = 0.3275911 / Math.sqrt(2)

/** x times the standard normal distribution function of x, in place; within 2e-7 (Abramowitz & Stegun 1964, 7.1.26). */
export function gelu(x: Float32Array): Float32Array {
  for (let i = 0; i < x.length; i++) {
    const size = Math.abs(x[i])
    const near = 1 / (1 + size * ERF_P)
    const tail = near * (ERF[4] + near * (ERF[3] + near * (ERF[2] + near * (ERF[1] + near * ERF[0]))))
    x[i] = 0.5 * (size + x[i] - tail * Math.exp(-0.5 * size * size) * size)
  }
  return x
}

const TANH_A = Math.sqrt(2 / Math.PI)

/** `gelu` in its approximation by the hyperbolic tangent, in place. */
export function geluTanh(x: Float32Array): Float32Array {
  for (let i = 0; i < x.length; i++) x[i] *= 0.5 * (1 + Math.tanh(TANH_A * x[i] * (1 + 0.044715 * x[i] * x[i])))
  return x
}
