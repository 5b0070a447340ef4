/** A song as text for a link: bytes, deflated, in base64url. */

import { areSame, stepsPerBar as barOf, type Grid } from './grids'
import type { Meta } from './meta'
import { bars as barsOf, OPEN, type Ask, type Song } from './song'

/** Of songs in 4/4 in sixteenths, which earlier pages read too; and of all others. */
const FORMAT = 1
const FORMAT_OF_GRIDS = 2
/** The grid of links of the first format. */
const FIRST_GRID: Grid = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }
const MOST_STEPS_PER_BAR = 96
const OFFSET_STEPS = 64
const DENSITY_STEPS = 250
const OPEN_DENSITY = 255
const MOST_FILL = 2
const HEAD_BYTES = 12
const SHIFT_BYTES = 2
/** A shift in [-.5, .5) as a number of two bytes. */
const SHIFT_STEPS = 2 ** 16

/** What does not read as a song. */
export class ShareError extends Error {}

/**
 * Layout: format, voices, steps a bar (in the second format steps a beat, beats a bar, unit of the beat), bars (2), tempo x
 * 100 (2), swing x 100, voice locks (2), hits, locks, of each hit velocity and offset, of each bar what is asked; shift (2)
 * where there is one.
 */
export function toBytes(song: Song): Uint8Array {
  const { voices, stepsPerBar, hits, locked, grid } = song
  const bars = barsOf(song)
  const tempo = Math.round(song.tempo * 100)
  const voiceLocks = song.lockedVoices.reduce((sum, is, v) => sum + (is ? 1 << v : 0), 0)
  const head = areSame(grid, FIRST_GRID)
    ? [FORMAT, voices, stepsPerBar]
    : [FORMAT_OF_GRIDS, voices, grid.steps_per_beat, grid.beats_per_bar, grid.beat_unit]
  const found = [
    ...head, bars >> 8, bars & 255, tempo >> 8, tempo & 255, Math.round(song.swing * 100), voiceLocks >> 8, voiceLocks & 255,
  ]
  for (const cells of [hits, locked]) found.push(...packBits(cells))
  hits.forEach((hit, cell) => {
    if (!hit) return
    found.push(Math.max(1, Math.round(song.velocity[cell] * 127)))
    found.push(Math.min(OFFSET_STEPS - 1, Math.round((song.offset[cell] + 0.5) * OFFSET_STEPS)))
  })
  for (let bar = 0; bar < bars; bar++) {
    const { section, style, fill, density } = song.asks[bar] ?? OPEN
    found.push(section, style, fill, density === null ? OPEN_DENSITY : Math.round(density * DENSITY_STEPS))
  }
  const shift = Math.round((song.shift + 0.5) * SHIFT_STEPS)
  if (song.shift) found.push((shift >> 8) & 255, shift & 255)
  return Uint8Array.from(found)
}

/** What of a model decides which songs it plays. */
export type Own = Pick<Meta, 'num_drums' | 'grid' | 'serves_every_grid' | 'labels'>

/** @param meta of the model: in no other metre, and of no other labels, may songs be where it has some */
export function fromBytes(bytes: Uint8Array, meta: Own, mostBars: number): Song {
  const { num_drums: voices, labels } = meta
  let at = 0
  const byte = () => {
    if (at >= bytes.length) throw new ShareError('The link is cut short.')
    return bytes[at++]
  }
  const two = () => byte() * 256 + byte()
  const format = byte()
  if (format !== FORMAT && format !== FORMAT_OF_GRIDS) throw new ShareError('The link is of another version of this page.')
  if (byte() !== voices) throw new ShareError('The link is for another drum kit.')
  const grid = format === FORMAT ? FIRST_GRID : { ...FIRST_GRID, steps_per_beat: byte(), beats_per_bar: byte(), beat_unit: byte() }
  const stepsPerBar = barOf(grid)
  const isGrid = stepsPerBar > 0 && stepsPerBar <= MOST_STEPS_PER_BAR && [1, 2, 4, 8, 16, 32].includes(grid.beat_unit)
  if (!isGrid || (format === FORMAT && byte() !== stepsPerBar)) throw new ShareError('The link is for another drum kit.')
  if (!meta.serves_every_grid && !areSame(grid, meta.grid)) throw new ShareError('The link is in a metre that the model does not play.')
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
  const most = { section: labels?.section?.length ?? 255, style: labels?.style?.length ?? 255 }
  for (let bar = 0; bar < bars; bar++) {
    const [section, style, fill, density] = [byte(), byte(), byte(), byte()]
    if (section > most.section || style > most.style || fill > MOST_FILL || (density > DENSITY_STEPS && density !== OPEN_DENSITY)) {
      throw new ShareError('The link is damaged.')
    }
    asks.push({ section, style, fill, density: density === OPEN_DENSITY ? null : density / DENSITY_STEPS })
  }
  const shift = at < bytes.length ? two() / SHIFT_STEPS - 0.5 : 0
  if (!(tempo >= 20 && tempo <= 400 && swing <= 1)) throw new ShareError('The link is damaged.')
  const lockedVoices = Array.from({ length: voices }, (_, v) => ((voiceLocks >> v) & 1) > 0)
  return { voices, grid, stepsPerBar, hits, velocity, offset, locked, lockedVoices, asks, tempo, swing, shift }
}

function packBits(cells: Uint8Array): number[] {
  const packed = new Array(Math.ceil(cells.length / 8)).fill(0)
  cells.forEach((cell, i) => { if (cell) packed[i >> 3] |= 1 << (i & 7) })
  return packed
}

export async function toHash(song: Song): Promise<string> {
  const bytes = await through(toBytes(song), new CompressionStream('deflate-raw'))
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export async function fromHash(text: string, meta: Own, mostBars: number): Promise<Song> {
  const cells = mostBars * MOST_STEPS_PER_BAR * meta.num_drums
  const mostBytes = HEAD_BYTES + 2 * Math.ceil(cells / 8) + 2 * cells + 4 * mostBars + SHIFT_BYTES
  let bytes: Uint8Array
  try {
    const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
    bytes = await through(Uint8Array.from(binary, (c) => c.charCodeAt(0)), new DecompressionStream('deflate-raw'), mostBytes)
  } catch {
    throw new ShareError('The link is damaged.')
  }
  return fromBytes(bytes, meta, mostBars)
}

/** @throws ShareError where more bytes come out than told: a few may inflate to more than there is memory for */
async function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream, most = Infinity): Promise<Uint8Array> {
  const piped: ReadableStream<Uint8Array> = new Blob([bytes as BlobPart]).stream().pipeThrough(stream as ReadableWritablePair)
  const reader = piped.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { value, done } = await reader.read()
    if (done) break
    size += value.length
    if (size > most) {
      reader.cancel().catch(() => undefined)
      throw new ShareError('The link is damaged.')
    }
    chunks.push(value)
  }
  const all = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
