import { expect, test } from 'vitest'
import places from './threefry.json'
import { EXPRESSION, HITS, NUMBERS_OF_STEP, RESAMPLING, threefry, uniforms, VARIATION } from '../src/rng'

/** `threefry2x32 20` of the known answers of the Random123 distribution: counter, key, result. */
test.each([
  [[0, 0], [0, 0], [0x6b200159, 0x99ba4efe]],
  [[0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], [0x1cb996fc, 0xbb002be7]],
  [[0x243f6a88, 0x85a308d3], [0x13198a2e, 0x03707344], [0xc4923a9c, 0x483df7a0]],
])('counter %j under key %j gives the known answer', (counter, key, result) => {
  expect(threefry(key[0], key[1], counter[0], counter[1])).toEqual(result)
})

test.each(places)('the numbers of seed $seed, purpose $purpose, row $row and step $step are those of Python', (place) => {
  const { seed, purpose, row, step, words } = place
  const expected = words.map((word) => word / 2 ** 32)
  expect([...uniforms(seed, purpose, row, step, words.length)]).toEqual(expected)
  expect([...uniforms(seed, purpose, row, step, 1)]).toEqual(expected.slice(0, 1)) // whatever else is drawn
})

test('a step has other numbers for each seed, purpose, row and step', () => {
  const places = [[0, HITS, 0, 0], [1, HITS, 0, 0], [2 ** 32, HITS, 0, 0], [0, HITS, 1, 0], [0, HITS, 0, 1],
    [0, EXPRESSION, 0, 0], [0, RESAMPLING, 0, 0], [0, VARIATION, 0, 0]]
  const firsts = places.map(([seed, purpose, row, step]) => uniforms(seed, purpose, row, step, 1)[0])
  expect(new Set(firsts).size).toBe(places.length)
})

test('the numbers of many steps are uniform', () => {
  const all = Array.from({ length: 4 }, (_, step) => [...uniforms(7, HITS, 3, step, NUMBERS_OF_STEP)]).flat()
  const mean = all.reduce((sum, u) => sum + u, 0) / all.length
  const variance = all.reduce((sum, u) => sum + (u - mean) ** 2, 0) / all.length
  expect(Math.abs(mean - 1 / 2)).toBeLessThan(4 * Math.sqrt(1 / 12 / all.length))
  expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.002)
  expect(new Set(all).size).toBe(all.length)
})

test.each([-1, 0.5, 2 ** 53, NaN])('seed %d is refused', (seed) => {
  expect(() => uniforms(seed, HITS, 0, 0, 1)).toThrow(RangeError)
})

test.each([[2 ** 16, 0, 1], [0, 2 ** 32, 1], [0, 0, NUMBERS_OF_STEP + 1]])(
  'row %d, step %d and %d numbers are refused, for they would be those of another place', (row, step, count) => {
    expect(() => uniforms(0, HITS, row, step, count)).toThrow(RangeError)
  })
