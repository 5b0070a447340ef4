import { expect, test } from 'vitest'
import { kernel } from '../src/kernel'
import { affine, gelu, geluTanh, Linear } from '../src/layers'

/** Numbers that look random, in [-1, 1). */
function numbers(count: number, seed: number): Float32Array {
  let state = seed
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  })
}

function plainly(weight: Float32Array, bias: Float32Array, x: Float32Array, rows: number): number[] {
  const inputs = weight.length / bias.length
  return Array.from({ length: rows * bias.length }, (_, at) => {
    const [row, j] = [Math.floor(at / bias.length), at % bias.length]
    let sum = bias[j]
    for (let i = 0; i < inputs; i++) sum += weight[j * inputs + i] * x[row * inputs + i]
    return sum
  })
}

test.each([[1, 128, 384], [4, 138, 128], [7, 20, 10], [66, 128, 388], [3, 1, 1], [5, 257, 33]])(
  'products of %i rows, %i inputs and %i outputs are those of the definition', (rows, inputs, outputs) => {
    const [weight, bias, x] = [numbers(outputs * inputs, 1), numbers(outputs, 2), numbers(rows * inputs, 3)]
    const wanted = plainly(weight, bias, x, rows)
    const inScript = new Float32Array(rows * outputs)
    affine(weight, bias, inputs, outputs, x, rows, inScript)
    const inKernel = new Float32Array(rows * outputs)
    kernel!.affine(kernel!.keep(weight, inputs, outputs), bias, inputs, outputs, x, rows, inKernel)
    const linear = new Linear(weight, bias, inputs, outputs).apply(x, rows)
    const furthest = (found: Float32Array, of: number[]) => Math.max(...of.map((value, at) => Math.abs(found[at] - value)))
    for (const found of [inScript, inKernel, linear]) expect(furthest(found, wanted)).toBeLessThan(2e-5)
    const twice = inKernel.slice()
    new Linear(weight, bias, inputs, outputs).addTo(twice, x, rows)
    expect(furthest(twice, wanted.map((value, at) => 2 * value - bias[at % outputs]))).toBeLessThan(4e-5)
  },
)

test('a slice and columns of a map are parts of it', () => {
  const [weight, bias, x] = [numbers(6 * 4, 4), numbers(6, 5), numbers(4, 6)]
  const whole = new Linear(weight, bias, 4, 6)
  expect([...whole.slice(2, 5).apply(x, 1)]).toEqual([...whole.apply(x, 1).subarray(2, 5)])
  const left = whole.columns(0, 1).apply(x.slice(0, 1), 1)
  const right = whole.columns(1, 4).apply(x.slice(1), 1)
  whole.apply(x, 1).forEach((value, j) => expect(left[j] + right[j] + bias[j]).toBeCloseTo(value, 5))
})

test('both forms of gelu are x times about the share of a normal distribution below x', () => {
  const places = Float32Array.of(-9, -1, 0, 0.5, 3)
  const wanted = [0, -0.158655, 0, 0.345731, 2.99595]
  gelu(places.slice()).forEach((value, i) => expect(value).toBeCloseTo(wanted[i], 5))
  geluTanh(places.slice()).forEach((value, i) => expect(value).toBeCloseTo(wanted[i], 3))
})
