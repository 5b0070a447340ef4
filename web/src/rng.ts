/**
 * Random numbers that are the same in Python and in the page, bit for bit, as in `hypermeter.play.random`.
 *
 * Each is a pure function of the seed and of where it is used, so that no generator has to be kept or copied:
 * Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, SC 2011).
 */

/** What numbers are used for. */
export const HITS = 0
export const EXPRESSION = 1
export const RESAMPLING = 2
export const VARIATION = 3
export const ARTICULATION = 5

/** Numbers that a step has for each purpose and row. */
export const NUMBERS_OF_STEP = 2 ** 13

const MOST_ROWS = 2 ** 16
const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24]
const PARITY = 0x1bd11bda

/** The two words, in [0, 2^32), of a counter of two words under a key of two words. */
export function threefry(key0: number, key1: number, counter0: number, counter1: number): [number, number] {
  const keys = [key0 | 0, key1 | 0, key0 ^ key1 ^ PARITY] // | 0 is modulo 2^32
  let a = (counter0 + keys[0]) | 0
  let b = (counter1 + keys[1]) | 0
  for (let round = 0; round < 20; round++) {
    const rotation = ROTATIONS[round & 7]
    a = (a + b) | 0
    b = ((b << rotation) | (b >>> (32 - rotation))) ^ a
    if ((round & 3) === 3) {
      const injection = (round + 1) >> 2
      a = (a + keys[injection % 3]) | 0
      b = (b + keys[(injection + 1) % 3] + injection) | 0
    }
  }
  return [a >>> 0, b >>> 0]
}

/**
 * The first `count` numbers of a step, doubles in [0, 1).
 *
 * @param seed a whole number in [0, 2^53 - 1]
 * @param row of a batch, or the particle of an infill; in [0, 2^16)
 * @param step steps that were heard before it since the very beginning, in [0, 2^32)
 * @param count at most NUMBERS_OF_STEP
 * @throws RangeError where one of them is out of its range
 */
export function uniforms(seed: number, purpose: number, row: number, step: number, count: number): Float64Array {
  check('seed', seed, Number.MAX_SAFE_INTEGER)
  check('row', row, MOST_ROWS - 1)
  check('step', step, 2 ** 32 - 1)
  check('count', count, NUMBERS_OF_STEP)
  const found = new Float64Array(count)
  const place = (purpose << 28) | (row << 12)
  for (let index = 0; index < count; index += 2) {
    const [even, odd] = threefry(seed, Math.floor(seed / 2 ** 32), step, place | (index >> 1))
    found[index] = even / 2 ** 32
    if (index + 1 < count) found[index + 1] = odd / 2 ** 32
  }
  return found
}

function check(name: string, value: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value > most) {
    throw new RangeError(`${name} is ${value}, expected a whole number from 0 to ${most}`)
  }
}
