import { expect, test } from 'vitest'
import { Sfc32 } from '../src/rng'

/** In BigInt, as the contract words it. */
function* reference(seed: number, stream: number): Generator<number> {
  const mask = 0xffffffffn
  let [a, b, c, counter] = [BigInt(seed) & mask, (BigInt(seed) >> 32n) & mask, BigInt(stream) & mask, 1n]
  for (let i = 0; ; i++) {
    const t = (a + b + counter) & mask
    counter = (counter + 1n) & mask
    a = b ^ (b >> 9n)
    b = (c + (c << 3n)) & mask
    c = (((c << 21n) | (c >> 11n)) + t) & mask
    if (i >= 12) yield Number(t)
  }
}

test.each([[0, 0], [1, 0], [123456789, 3], [2 ** 32 - 1, 2 ** 16], [2 ** 32 + 5, 2 ** 17], [Number.MAX_SAFE_INTEGER, 2 ** 18 + 1]])(
  'seed %i, stream %i gives the numbers of the definition', (seed, stream) => {
    const rng = new Sfc32(seed, stream)
    const expected = reference(seed, stream)
    for (let i = 0; i < 1000; i++) expect(rng.next()).toBe(expected.next().value)
  })

test('uniform is next over 2^32', () => {
  const [a, b] = [new Sfc32(7, 1), new Sfc32(7, 1)]
  for (let i = 0; i < 100; i++) expect(a.uniform()).toBe(b.next() / 2 ** 32)
})

test.each([-1, 0.5, 2 ** 53, NaN])('seed %d is refused', (seed) => {
  expect(() => new Sfc32(seed)).toThrow(RangeError)
})
