/** Noise of the drums' sounds, the same as in `hypermeter.share.sound`: sfc32 (Chris Doty-Humphrey, PractRand). */

/** Uniform in [-1, 1), from a whole number in [0, 2^53 - 1]. */
export function whiteNoise(seed: number, count: number): Float64Array {
  let [a, b, c, counter] = [seed | 0, Math.floor(seed / 2 ** 32) | 0, 0, 1] // | 0 is modulo 2^32
  const next = () => {
    const t = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + t) | 0
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) next()
  return Float64Array.from({ length: count }, () => next() / 2 ** 31 - 1)
}
