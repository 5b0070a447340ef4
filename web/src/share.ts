/** A song as text for a link: bytes, deflated, in base64url. */

import { bars as barsOf, OPEN, type Ask, type Song } from './song'

const FORMAT = 1
const OFFSET_STEPS = 64

/** What does not read as a song. */
export class ShareError extends Error {}

/** Layout: format, voices, steps a bar, bars (2), tempo x 100 (2), swing x 100, voice locks (2), hits, locks, of each hit velocity and offset, of each bar what is asked. */
export function toBytes(song: Song): Uint8Array {
  const { voices, stepsPerBar, hits, locked } = song
  const bars = barsOf(song)
  const tempo = Math.round(song.tempo * 100)
  const voiceLocks = song.lockedVoices.reduce((sum, is, v) => sum + (is ? 1 << v : 0), 0)
  const found = [
    FORMAT, voices, stepsPerBar, bars >> 8, bars & 255, tempo >> 8, tempo & 255,
    Math.round(song.swing * 100), voiceLocks >> 8, voiceLocks & 255,
  ]
  for (const cells of [hits, locked]) found.push(...packBits(cells))
  hits.forEach((hit, cell) => {
    if (!hit) return
    found.push(Math.max(1, Math.round(song.velocity[cell] * 127)))
    found.push(Math.min(OFFSET_STEPS - 1, Math.round((song.offset[cell] + 0.5) * OFFSET_STEPS)))
  })
  for (let bar = 0; bar < bars; bar++) {
    const { section, style, fill, density } = song.asks[bar] ?? OPEN
    found.push(section, style, fill, density === null ? 255 : Math.round(density * 250))
  }
  return Uint8Array.from(found)
}

export function fromBytes(bytes: Uint8Array, voices: number, stepsPerBar: number, mostBars: number): Song {
  let at = 0
  const byte = () => {
    if (at >= bytes.length) throw new ShareError('The link is cut short.')
    return bytes[at++]
  }
  const two = () => byte() * 256 + byte()
  if (byte() !== FORMAT) throw new ShareError('The link is of another version of this page.')
  if (byte() !== voices || byte() !== stepsPerBar) throw new ShareError('The link is for another drum kit.')
  const bars = two()
  if (bars < 1 || bars > mostBars) throw new ShareError('The link is damaged.')
  const tempo = two() / 100
  const swing = byte() / 100
  const voiceLocks = two()
  const cells = bars * stepsPerBar * voices
  const unpack = () => {
    const found = new Uint8Array(cells)
    for (let i = 0; i < cells; i += 8) {
      const packed = byte()
      for (let bit = 0; bit < 8 && i + bit < cells; bit++) found[i + bit] = (packed >> bit) & 1
    }
    return found
  }
  const hits = unpack()
  const locked = unpack()
  const velocity = new Float32Array(cells)
  const offset = new Float32Array(cells)
  for (let cell = 0; cell < cells; cell++) {
    if (!hits[cell]) continue
    velocity[cell] = Math.min(byte() / 127, 1)
    offset[cell] = byte() / OFFSET_STEPS - 0.5
  }
  const asks: Ask[] = []
  for (let bar = 0; bar < bars; bar++) {
    const [section, style, fill, density] = [byte(), byte(), byte(), byte()]
    asks.push({ section, style, fill, density: density === 255 ? null : density / 250 })
  }
  if (!(tempo >= 20 && tempo <= 400 && swing <= 1)) throw new ShareError('The link is damaged.')
  const lockedVoices = Array.from({ length: voices }, (_, v) => ((voiceLocks >> v) & 1) > 0)
  return { voices, stepsPerBar, hits, velocity, offset, locked, lockedVoices, asks, tempo, swing }
}

function packBits(cells: Uint8Array): number[] {
  const packed = new Array(Math.ceil(cells.length / 8)).fill(0)
  cells.forEach((cell, i) => { if (cell) packed[i >> 3] |= 1 << (i & 7) })
  return packed
}

export async function toHash(song: Song): Promise<string> {
  const bytes = await through(toBytes(song), new CompressionStream('deflate-raw'))
  let text = ''
  for (const each of bytes) text += String.fromCharCode(each)
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export async function fromHash(text: string, voices: number, stepsPerBar: number, mostBars: number): Promise<Song> {
  let bytes: Uint8Array
  try {
    const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
    bytes = await through(Uint8Array.from(binary, (c) => c.charCodeAt(0)), new DecompressionStream('deflate-raw'))
  } catch {
    throw new ShareError('The link is damaged.')
  }
  return fromBytes(bytes, voices, stepsPerBar, mostBars)
}

async function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream): Promise<Uint8Array> {
  const piped = new Blob([bytes as BlobPart]).stream().pipeThrough(stream as ReadableWritablePair)
  return new Uint8Array(await new Response(piped).arrayBuffer())
}
