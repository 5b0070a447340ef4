/** WAV files, part by part. */

export type Bits = 16 | 24
const HEAD_BYTES = 44
/** Sizes are numbers of 32 bits. */
export const MOST_WAV_BYTES = 2 ** 32 - 1

/** Bytes of a whole file. */
export function wavBytes(channels: number, frames: number, bits: Bits): number {
  return HEAD_BYTES + (frames * channels * bits) / 8
}

/** What a file begins with. */
export function wavHead(channels: number, frames: number, sampleRate: number, bits: Bits): Uint8Array {
  const frame = (channels * bits) / 8
  const size = frames * frame
  const bytes = new Uint8Array(HEAD_BYTES)
  const view = new DataView(bytes.buffer)
  const text = (at: number, letters: string) => {
    for (let i = 0; i < letters.length; i++) bytes[at + i] = letters.charCodeAt(i)
  }
  text(0, 'RIFF')
  view.setUint32(4, HEAD_BYTES - 8 + size, true)
  text(8, 'WAVEfmt ')
  view.setUint32(16, 16, true)
  view.setUint16(20, 1, true)
  view.setUint16(22, channels, true)
  view.setUint32(24, sampleRate, true)
  view.setUint32(28, sampleRate * frame, true)
  view.setUint16(32, frame, true)
  view.setUint16(34, bits, true)
  text(36, 'data')
  view.setUint32(40, size, true)
  return bytes
}

/** What follows of it. @param channels samples in [-1, 1] of each channel, all of one length */
export function wavFrames(channels: Float32Array[], bits: Bits): Uint8Array {
  const [count, frames, width] = [channels.length, channels[0].length, bits / 8]
  const bytes = new Uint8Array(frames * count * width)
  const full = 2 ** (bits - 1) - 1
  let at = 0
  for (let frame = 0; frame < frames; frame++) {
    for (let channel = 0; channel < count; channel++) {
      const value = Math.round(Math.max(-1, Math.min(1, channels[channel][frame])) * full)
      for (let byte = 0; byte < width; byte++) bytes[at++] = value >> (8 * byte)
    }
  }
  return bytes
}
