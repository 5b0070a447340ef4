/** Random numbers that are the same in Python and in the page, bit for bit: sfc32 (Chris Doty-Humphrey, PractRand). */

/** Streams of a seed: row r of a batch draws its hits from stream r. */
export const EXPRESSION_STREAM = 2 ** 16
export const RESAMPLING_STREAM = 2 ** 17
export const VARIATION_STREAM = 2 ** 18

export class Sfc32 {
  private a: number
  private b: number
  private c: number
  private counter = 1

  /**
   * @param seed a whole number in [0, 2^53 - 1]
   * @param stream a whole number in [0, 2^32 - 1]
   */
  constructor(seed: number, stream = 0) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`seed is ${seed}, expected a whole number from 0 to 2^53 - 1`)
    }
    this.a = seed | 0 // ToInt32 is modulo 2^32
    this.b = Math.floor(seed / 2 ** 32) | 0
    this.c = stream | 0
    for (let i = 0; i < 12; i++) this.next()
  }

  /** A whole number in [0, 2^32). */
  next(): number {
    const t = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + t | 0
    return t >>> 0
  }

  /** A double in [0, 1). */
  uniform(): number {
    return this.next() / 2 ** 32
  }
}
