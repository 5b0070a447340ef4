/** What links hold behind the song and its mixer, in parts with a number and a length: pages skip those that they do not know. */

import { isKit, type Mixer } from './settings'
import { areValid, MOST_LETTERS, MOST_PATTERNS } from './patterns'
import { bars, LEAST_CHANCE, MOST_BARS, type Song } from './song'

const CHANCES = 1
const PATTERNS = 2
const MIXER = 3
/** A chance, and a pan in [-1, 1] as a number of one byte. */
const CHANCE_STEPS = 100
const PAN_STEPS = 100
/** A pan that is left to the kit. */
const OF_KIT = 255
const MOST_BYTES_OF_PATTERN = 1 + 4 * MOST_LETTERS + 4

/** The most bytes of all parts, of a song of so many cells. */
export const mostExtraBytes = (cells: number) => 12 + 5 + 4 * cells + MOST_PATTERNS * MOST_BYTES_OF_PATTERN + MOST_BARS + 256

const two = (value: number) => [value >> 8, value & 255]
const three = (value: number) => [value >> 16, ...two(value & 65535)]
const flags = (all: boolean[]) => two(all.reduce((sum, is, place) => sum + (is ? 1 << place : 0), 0))
const text = (letters: string) => {
  const bytes = new TextEncoder().encode(letters)
  return [bytes.length, ...bytes]
}

/** The parts that a song and its mixer need; none for most. */
export function extraBytes(song: Song, mixer: Mixer): number[] {
  const found: number[] = []
  const part = (number: number, bytes: number[]) => found.push(number, ...three(bytes.length), ...bytes)
  const chances = [...song.chances]
  if (chances.length) part(CHANCES, [...two(song.roll), ...chances.flatMap(([cell, chance]) => [...three(cell), Math.round(chance * CHANCE_STEPS)])])
  const patterns = song.patterns.flatMap(({ name, first, last }) => [...text(name), ...two(first), ...two(last)])
  if (song.patterns.length) part(PATTERNS, [song.patterns.length, ...patterns, song.order.length, ...song.order])
  const { soloed, pans, kit } = mixer
  if (soloed.includes(true) || pans.some((pan) => pan !== null) || kit) {
    part(MIXER, [...flags(soloed), ...pans.map((pan) => (pan === null ? OF_KIT : Math.round((pan + 1) * PAN_STEPS))), ...text(kit)])
  }
  return found
}

/**
 * Takes the parts into a song and a mixer.
 *
 * @returns null where they are damaged
 */
export function withExtras(song: Song, mixer: Mixer, bytes: Uint8Array): { song: Song; mixer: Mixer } | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  try {
    for (let at = 0; at < bytes.length;) {
      const number = view.getUint8(at)
      const length = view.getUint8(at + 1) * 65536 + view.getUint16(at + 2)
      const end = at + 4 + length
      if (end > bytes.length) return null
      const part = new DataView(bytes.buffer, bytes.byteOffset + at + 4, length)
      if (number === CHANCES) song = withChances(song, part)
      else if (number === PATTERNS) song = withPatterns(song, part)
      else if (number === MIXER) mixer = withMixer(mixer, part)
      at = end
    }
  } catch (error) {
    if (error instanceof RangeError) return null // of a view, or of ours
    throw error
  }
  return { song, mixer }
}

function withChances(song: Song, part: DataView): Song {
  const chances = new Map<number, number>()
  for (let at = 2; at < part.byteLength; at += 4) {
    const cell = part.getUint8(at) * 65536 + part.getUint16(at + 1)
    const chance = part.getUint8(at + 3) / CHANCE_STEPS
    if (!song.hits[cell] || chance < LEAST_CHANCE || chance >= 1) throw new RangeError('a chance of no hit')
    chances.set(cell, chance)
  }
  return { ...song, chances, roll: part.getUint16(0) }
}

function withPatterns(song: Song, part: DataView): Song {
  let at = 0
  const patterns = Array.from({ length: part.getUint8(at++) }, () => {
    const [name, next] = textAt(part, at)
    at = next + 4
    return { name: name.slice(0, MOST_LETTERS), first: part.getUint16(next), last: part.getUint16(next + 2) }
  })
  const order = Array.from({ length: part.getUint8(at++) }, () => part.getUint8(at++))
  if (!areValid({ patterns, order }, bars(song)) || patterns.some(({ name }) => !name.trim())) throw new RangeError('patterns of no bars')
  return { ...song, patterns, order }
}

function withMixer(mixer: Mixer, part: DataView): Mixer {
  const solos = part.getUint16(0)
  const pans = mixer.pans.map((_, voice) => {
    const pan = part.getUint8(2 + voice)
    return pan === OF_KIT ? null : Math.min(pan / PAN_STEPS - 1, 1)
  })
  const [kit] = textAt(part, 2 + mixer.pans.length)
  return { ...mixer, soloed: mixer.soloed.map((_, voice) => ((solos >> voice) & 1) > 0), pans, kit: isKit(kit) ? kit : '' }
}

function textAt(part: DataView, at: number): [string, number] {
  const length = part.getUint8(at)
  const end = at + 1 + length
  if (end > part.byteLength) throw new RangeError('text that is cut short')
  return [new TextDecoder().decode(new Uint8Array(part.buffer, part.byteOffset + at + 1, length)), end]
}
