/** WAV files of 16 bits. */

/** @param channels samples in [-1, 1] of each channel, all of one length */
export function writeWav(channels: Float32Array[], sampleRate: number): Uint8Array {
  const [count, frames] = [channels.length, channels[0].length]
  const size = frames * count * 2
  const bytes = new Uint8Array(44 + size)
  const view = new DataView(bytes.buffer)
  const text = (at: number, letters: string) => {
    for (let i = 0; i < letters.length; i++) bytes[at + i] = letters.charCodeAt(i)
  }
  text(0, 'RIFF')
  view.setUint32(4, 36 + size, true)
  text(8, 'WAVEfmt ')
  view.setUint32(16, 16, true)
  view.setUint16(20, 1, true)
  view.setUint16(22, count, true)
  view.setUint32(24, sampleRate, true)
  view.setUint32(28, sampleRate * count * 2, true)
  view.setUint16(32, count * 2, true)
  view.setUint16(34, 16, true)
  text(36, 'data')
  view.setUint32(40, size, true)
  for (let frame = 0, at = 44; frame < frames; frame++) {
    for (let c = 0; c < count; c++, at += 2) {
      const x = Math.max(-1, Math.min(1, channels[c][frame]))
      view.setInt16(at, Math.round(x * 32767), true)
    }
  }
  return bytes
}
