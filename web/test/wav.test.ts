import { expect, test } from 'vitest'
import { wavBytes, wavFrames, wavHead } from '../src/wav'

const SIDES = [Float32Array.of(0, 1, -1), Float32Array.of(0.5, 2, 0)]

test('a WAV file has its header and its samples, of 16 and of 24 bits', () => {
  for (const bits of [16, 24] as const) {
    const head = new DataView(wavHead(2, 3, 44100, bits).buffer)
    const width = bits / 8
    expect([head.getUint32(4, true), head.getUint16(22, true), head.getUint32(24, true), head.getUint32(28, true)]).toEqual([36 + 6 * width, 2, 44100, 88200 * width])
    expect([head.getUint16(32, true), head.getUint16(34, true), head.getUint32(40, true)]).toEqual([2 * width, bits, 6 * width])
    const bytes = wavFrames(SIDES, bits)
    expect(head.byteLength + bytes.length).toBe(wavBytes(2, 3, bits))
    const full = 2 ** (bits - 1) - 1
    const found = Array.from({ length: 6 }, (_, place) => {
      const value = bytes.subarray(place * width, (place + 1) * width).reduce((sum, byte, at) => sum + byte * 256 ** at, 0)
      return value >= 2 ** (bits - 1) ? value - 2 ** bits : value
    })
    expect(found).toEqual([0, Math.round(full / 2), full, full, -full, 0])
  }
})
