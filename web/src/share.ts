/** A song as text for a link: bytes, deflated, in base64url. */

import { extraBytes, mostExtraBytes, withExtras } from './extras'
import { areSame, stepsPerBar as barOf, type Grid } from './grids'
import type { Meta } from './meta'
import { isPlain, LOUDEST_VOLUME, type Mixer, plainMixer } from './settings'
import { bars as barsOf, emptySong, MOST_STROKES_OF_CELL, OPEN, type Ask, type Song, type Stroke } from './song'

/** Of songs in 4/4 in sixteenths with one stroke a cell, which earlier pages read too; and of all others. */
const FORMAT = 1
const FORMAT_OF_ALL = 2
/** The grid of links of the first format. */
const FIRST_GRID: Grid = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }
const MOST_STEPS_PER_BAR = 96
const OFFSET_STEPS = 64
const DENSITY_STEPS = 250
const OPEN_DENSITY = 255
const MOST_FILL = 2
const HEAD_BYTES = 12
const SHIFT_BYTES = 2
/** Of the further strokes of a song. */
const MOST_STROKE_BYTES = 1_000_000
/** A shift in [-.5, .5) as a number of two bytes. */
const SHIFT_STEPS = 2 ** 16

/** A volume as a number of one byte. */
const VOLUME_STEPS = 100
/** What a link of this page begins with; those of earlier pages are the song alone. */
const MARK = 'song='

/** Of openness that is not known. */
const UNKNOWN = 255

/** A number of a byte, which is damaged beyond what is written there: the editor makes no other. */
function within(value: number, least: number, most: number): number {
  if (value < least || value > most) throw new ShareError('The link is damaged.')
  return value
}

const readVelocity = (value: number) => within(value, 1, 127) / 127
const readOffset = (value: number) => within(value, 0, OFFSET_STEPS - 1) / OFFSET_STEPS - 0.5

const velocityByte = (velocity: number) => Math.max(1, Math.round(velocity * 127))
const offsetByte = (offset: number) => Math.min(OFFSET_STEPS - 1, Math.round((offset + 0.5) * OFFSET_STEPS))

/** What does not read as a song. */
export class ShareError extends Error {}

/** A song as a link holds it, with its mixer. */
export interface Shared {
  song: Song
  mixer: Mixer
}

/**
 * Layout: format, voices, steps a bar (in the second format steps a beat, beats a bar, unit of the beat), bars (2), tempo x
 * 100 (2), swing x 100, voice locks (2), hits, locks, of each hit velocity and offset, of each bar what is asked; shift (2)
 * where there is one. The second format always has the shift, and then the number of further strokes (3), of each its cell
 * (3), offset and velocity, and of each hit its openness, if any is known. Last, where a voice is not at its plain volume or
 * is muted, each voice's volume x 100, and which are muted (2), and then what extras.ts has; earlier pages, which read no further,
 * leave it out.
 */
export function toBytes(song: Song, mixer = plainMixer(song.voices)): Uint8Array {
  const { voices, stepsPerBar, hits, locked, grid } = song
  const bars = barsOf(song)
  const tempo = Math.round(song.tempo * 100)
  const voiceLocks = song.lockedVoices.reduce((sum, is, v) => sum + (is ? 1 << v : 0), 0)
  const isKnown = song.openness.some((value, cell) => hits[cell] && !Number.isNaN(value))
  const isFirst = areSame(grid, FIRST_GRID) && !song.strokes.size && !isKnown
  const head = isFirst
    ? [FORMAT, voices, stepsPerBar]
    : [FORMAT_OF_ALL, voices, grid.steps_per_beat, grid.beats_per_bar, grid.beat_unit]
  const found = [
    ...head, bars >> 8, bars & 255, tempo >> 8, tempo & 255, Math.round(song.swing * 100), voiceLocks >> 8, voiceLocks & 255,
  ]
  for (const cells of [hits, locked]) found.push(...packBits(cells))
  hits.forEach((hit, cell) => {
    if (!hit) return
    found.push(velocityByte(song.velocity[cell]), offsetByte(song.offset[cell]))
  })
  for (let bar = 0; bar < bars; bar++) {
    const { section, style, fill, density } = song.asks[bar] ?? OPEN
    found.push(section, style, fill, density === null ? OPEN_DENSITY : Math.round(density * DENSITY_STEPS))
  }
  const shift = Math.round((song.shift + 0.5) * SHIFT_STEPS)
  const extras = extraBytes(song, mixer)
  const ofMixer = isPlain(mixer) && !extras.length ? [] : [...mixerBytes(mixer), ...extras]
  if (song.shift || !isFirst || ofMixer.length) found.push((shift >> 8) & 255, shift & 255)
  if (isFirst) return Uint8Array.from([...found, ...ofMixer])
  const strokes = [...song.strokes].flatMap(([cell, own]) => own.map((stroke) => ({ cell, ...stroke })))
  const three = (value: number) => [value >> 16, (value >> 8) & 255, value & 255]
  found.push(...three(strokes.length))
  for (const { cell, offset, velocity } of strokes) found.push(...three(cell), offsetByte(offset), velocityByte(velocity))
  found.push(Number(isKnown))
  if (isKnown) hits.forEach((hit, cell) => { if (hit) found.push(Number.isNaN(song.openness[cell]) ? UNKNOWN : Math.round(song.openness[cell] * 127)) })
  return Uint8Array.from([...found, ...ofMixer])
}

function mixerBytes({ volumes, muted }: Mixer): number[] {
  const mutes = muted.reduce((sum, is, v) => sum + (is ? 1 << v : 0), 0)
  return [...volumes.map((volume) => Math.round(volume * VOLUME_STEPS)), mutes >> 8, mutes & 255]
}

/** What of a model decides which songs it plays. */
export type Own = Pick<Meta, 'num_drums' | 'grid' | 'serves_every_grid' | 'labels'>

/** @param meta of the model: in no other metre, and of no other labels, may songs be where it has some */
export function fromBytes(bytes: Uint8Array, meta: Own, mostBars: number): Shared {
  const { num_drums: voices, labels } = meta
  let at = 0
  const byte = () => {
    if (at >= bytes.length) throw new ShareError('The link is cut short.')
    return bytes[at++]
  }
  const two = () => byte() * 256 + byte()
  const format = byte()
  if (format !== FORMAT && format !== FORMAT_OF_ALL) throw new ShareError('The link is of another version of this page.')
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
    velocity[cell] = readVelocity(byte())
    offset[cell] = readOffset(byte())
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
  const shift = at < bytes.length || format !== FORMAT ? two() / SHIFT_STEPS - 0.5 : 0
  const openness = new Float32Array(cells).fill(NaN)
  const strokes = new Map<number, Stroke[]>()
  if (format !== FORMAT) {
    const three = () => byte() * 65_536 + two()
    for (let left = three(); left > 0; left--) {
      const cell = three()
      const own = strokes.get(cell) ?? []
      if (!hits[cell] || own.length >= MOST_STROKES_OF_CELL) throw new ShareError('The link is damaged.')
      strokes.set(cell, [...own, { offset: readOffset(byte()), velocity: readVelocity(byte()), openness: NaN }])
    }
    if (byte()) hits.forEach((hit, cell) => { if (hit) openness[cell] = opennessOf(byte()) })
  }
  if (!(tempo >= 20 && tempo <= 400 && swing <= 1)) throw new ShareError('The link is damaged.')
  const lockedVoices = Array.from({ length: voices }, (_, v) => ((voiceLocks >> v) & 1) > 0)
  let mixer = plainMixer(voices)
  let song: Song = { ...emptySong(voices, grid, 0), hits, velocity, offset, openness, strokes, locked, lockedVoices, asks, tempo, swing, shift }
  if (at < bytes.length) {
    mixer.volumes = mixer.volumes.map(() => within(byte(), 0, LOUDEST_VOLUME * VOLUME_STEPS) / VOLUME_STEPS)
    const mutes = two()
    mixer.muted = mixer.muted.map((_, v) => ((mutes >> v) & 1) > 0)
    const more = withExtras(song, mixer, bytes.subarray(at))
    if (!more) throw new ShareError('The link is damaged.')
    ;({ song, mixer } = more)
  }
  return { song, mixer }
}

const opennessOf = (value: number) => (value === UNKNOWN ? NaN : within(value, 0, 127) / 127)

function packBits(cells: Uint8Array): number[] {
  const packed = new Array(Math.ceil(cells.length / 8)).fill(0)
  cells.forEach((cell, i) => { if (cell) packed[i >> 3] |= 1 << (i & 7) })
  return packed
}

export async function toHash(song: Song, mixer?: Mixer): Promise<string> {
  const bytes = await through(toBytes(song, mixer), new CompressionStream('deflate-raw'))
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return MARK + btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/**
 * The song of a link.
 *
 * @returns null where the text is none of this page's, as an anchor of its host
 * @throws ShareError where it is, but damaged, or for another model
 */
export async function fromHash(text: string, meta: Own, mostBars: number): Promise<Shared | null> {
  const isMarked = text.startsWith(MARK)
  const cells = mostBars * MOST_STEPS_PER_BAR * meta.num_drums
  const mostBytes = HEAD_BYTES + 2 * Math.ceil(cells / 8) + 3 * cells + 4 * mostBars + SHIFT_BYTES + MOST_STROKE_BYTES + mostExtraBytes(cells)
  let bytes: Uint8Array
  try {
    const binary = atob((isMarked ? text.slice(MARK.length) : text).replaceAll('-', '+').replaceAll('_', '/'))
    bytes = await through(Uint8Array.from(binary, (c) => c.charCodeAt(0)), new DecompressionStream('deflate-raw'), mostBytes)
  } catch {
    if (!isMarked) return null
    throw new ShareError('The link is damaged.')
  }
  if (!isMarked && bytes[0] !== FORMAT && bytes[0] !== FORMAT_OF_ALL) return null
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
