/** What is written: hits and how they are played, what is locked, and what is asked of each bar. */

import { stepsPerBar as barOf, type Grid } from './grids'
import type { Pattern } from './patterns'

/** What is asked of a bar; 0 and null leave it open. */
export interface Ask {
  /** 1 + place in the model's vocabulary. */
  section: number
  style: number
  /** 1 a beat, 2 a fill. */
  fill: number
  /** Share of cells with a hit, in [0, 1]. */
  density: number | null
}

/** A further stroke of a cell, beside its hit, as in a flam, a drag or a roll. */
export interface Stroke {
  /** In [-.5, .5) steps, as of a hit. */
  offset: number
  velocity: number
  /** Of the hi-hat; NaN where it is not known. */
  openness: number
}

/** By cell, in the order of time; not changed once made. */
export type Strokes = ReadonlyMap<number, readonly Stroke[]>

/** How often a hit is played, in (0, 1), by cell; one that is not in it always is. Not changed once made. */
export type Chances = ReadonlyMap<number, number>

/** A song as a value: operations give a new one. Cells are step by step, voice by voice. */
export interface Song {
  voices: number
  grid: Grid
  stepsPerBar: number
  hits: Uint8Array
  /** In (0, 1] at each hit. */
  velocity: Float32Array
  /** In [-.5, .5) steps, late is positive. */
  offset: Float32Array
  /** How open the hi-hat is at its hits, in [0, 1]; NaN where it is not known. */
  openness: Float32Array
  strokes: Strokes
  chances: Chances
  /** Which hits of those with a chance fall: another number is another roll of the dice. In [0, MOST_ROLL]. */
  roll: number
  locked: Uint8Array
  lockedVoices: boolean[]
  /** Of each bar, and of bars to come. */
  asks: Ask[]
  /** Bars with a name, and the places in them of those that follow one another where the song is played in order. */
  patterns: readonly Pattern[]
  order: readonly number[]
  tempo: number
  /** How late every second step is: 0 straight, 1 a third of a step. */
  swing: number
  /** How late all of it is played, in steps: what was steady in the MIDI file that it comes from. */
  shift: number
  /** Where it is kept; a song that was not opened yet has no place. */
  kept?: Place
}

/** Where the browser keeps a song, and under which name. */
export interface Place {
  id: string
  name: string
}

export function newPlace(name: string): Place {
  const random = crypto.getRandomValues(new Uint32Array(3))
  return { id: Array.from(random, (part) => part.toString(36)).join(''), name }
}

export const OPEN: Ask = { section: 0, style: 0, fill: 0, density: null }
export const DEFAULT_VELOCITY = 0.8
export const MOST_BARS = 256
export const MOST_ROLL = 65535
export const MIN_TEMPO = 40
export const MAX_TEMPO = 240

export function clampTempo(tempo: number): number {
  return Math.max(MIN_TEMPO, Math.min(MAX_TEMPO, tempo))
}

const LATEST_SWING = 1 / 3
/** Of grace notes: steps between them, and how loud they are beside the hit. */
const GRACE_GAP = 0.2
const GRACE_RATIO = 0.6
/** Further strokes that a cell can have, however they came. */
export const MOST_STROKES_OF_CELL = 64
/** Strokes that a cell can be given. */
export const MOST_STROKES = 4
const LAST_OFFSET = 0.499
export const LEAST_CHANCE = 0.05

export function emptySong(voices: number, grid: Grid, bars: number): Song {
  const stepsPerBar = barOf(grid)
  const cells = bars * stepsPerBar * voices
  return {
    voices,
    grid,
    stepsPerBar,
    hits: new Uint8Array(cells),
    velocity: new Float32Array(cells),
    offset: new Float32Array(cells),
    openness: new Float32Array(cells).fill(NaN),
    strokes: new Map(),
    chances: new Map(),
    roll: 0,
    locked: new Uint8Array(cells),
    lockedVoices: new Array(voices).fill(false),
    asks: new Array(bars).fill(OPEN),
    patterns: [],
    order: [],
    tempo: 120,
    swing: 0,
    shift: 0,
  }
}

/** A song as it was kept, by an earlier page perhaps, with what songs have had since. */
export function completed(kept: Song): Song {
  return { ...emptySong(kept.voices, kept.grid, 0), ...kept }
}

export function steps(song: Song): number {
  return song.hits.length / song.voices
}

export function bars(song: Song): number {
  return Math.ceil(steps(song) / song.stepsPerBar)
}

export function ask(song: Song, bar: number): Ask {
  return song.asks[bar] ?? OPEN
}

export function isLocked(song: Song, cell: number): boolean {
  return song.locked[cell] > 0 || song.lockedVoices[cell % song.voices]
}

/** Share of cells of a bar that have a hit. */
export function density(song: Song, bar: number): number {
  const size = song.stepsPerBar * song.voices
  const part = song.hits.subarray(bar * size, (bar + 1) * size)
  return part.reduce((sum, hit) => sum + hit, 0) / size
}

/** Whether steps are in pairs, of which the second can be late; those of triplets are not. */
export function maySwing({ grid }: Song): boolean {
  return grid.steps_per_beat % 2 === 0
}

/** How late a step sounds because of swing, in steps. */
export function swingOf(song: Song, step: number): number {
  return step % 2 && maySwing(song) ? song.swing * LATEST_SWING : 0
}

/** When a hit, or another stroke of its cell, sounds, in steps from its grid line, with swing. */
export function placed(song: Song, cell: number, offset = song.offset[cell]): number {
  const late = offset + swingOf(song, Math.floor(cell / song.voices))
  return Math.max(-0.5, Math.min(LAST_OFFSET, late))
}

/** Sets cells to hits, at a velocity and on the grid line, or to silence. */
export function setHits(song: Song, cells: Iterable<number>, hit: 0 | 1, velocity = DEFAULT_VELOCITY): Song {
  const strokes = new Map(song.strokes)
  const chances = new Map(song.chances)
  const changed = {
    ...song, hits: song.hits.slice(), velocity: song.velocity.slice(), offset: song.offset.slice(), openness: song.openness.slice(), strokes, chances,
  }
  for (const cell of cells) {
    changed.openness[cell] = NaN
    strokes.delete(cell)
    chances.delete(cell)
    changed.hits[cell] = hit
    changed.velocity[cell] = hit ? velocity : 0
    changed.offset[cell] = 0
  }
  return changed
}

export function setVelocity(song: Song, cell: number, velocity: number): Song {
  if (!song.hits[cell]) return song
  const changed = song.velocity.slice()
  changed[cell] = Math.max(1 / 127, Math.min(1, velocity))
  const gain = changed[cell] / song.velocity[cell]
  const strokes = new Map(song.strokes)
  const own = strokes.get(cell)
  if (own) strokes.set(cell, own.map((stroke) => ({ ...stroke, velocity: Math.min(Math.max(stroke.velocity * gain, 1 / 127), 1) })))
  return { ...song, velocity: changed, strokes }
}

/** Moves a hit with its further strokes, by as far as all of them stay in the cell. @param offset in steps */
export function setOffset(song: Song, cell: number, offset: number): Song {
  if (!song.hits[cell]) return song
  const own = song.strokes.get(cell) ?? []
  const all = [song.offset[cell], ...own.map((stroke) => stroke.offset)]
  const lowest = cell < song.voices ? 0 : -0.5 // nothing is before the first step
  const by = Math.min(Math.max(offset - song.offset[cell], lowest - Math.min(...all)), LAST_OFFSET - Math.max(...all))
  const changed = song.offset.slice()
  changed[cell] += by
  const strokes = new Map(song.strokes)
  if (own.length) strokes.set(cell, own.map((stroke) => ({ ...stroke, offset: Math.fround(stroke.offset + by) })))
  return { ...song, offset: changed, strokes }
}

export function chanceOf(song: Song, cell: number): number {
  return song.chances.get(cell) ?? 1
}

/** @param chance how often the hit is played; from 1 on always, and never less than LEAST_CHANCE */
export function setChance(song: Song, cell: number, chance: number): Song {
  if (!song.hits[cell]) return song
  const chances = new Map(song.chances)
  if (chance < 1) chances.set(cell, Math.max(LEAST_CHANCE, chance))
  else chances.delete(cell)
  return { ...song, chances }
}

/** Strokes of a cell: its hit and the further ones; 0 where there is no hit. */
export function strokesOf(song: Song, cell: number): number {
  return song.hits[cell] ? 1 + (song.strokes.get(cell)?.length ?? 0) : 0
}

/** Sets so many strokes: grace notes that lead to the hit, as of a flam (2), a drag (3) or a ruff (4). */
export function setStrokes(song: Song, cell: number, count: number): Song {
  if (!song.hits[cell]) return song
  const strokes = new Map(song.strokes)
  strokes.delete(cell)
  const offset = song.offset[cell]
  const low = cell < song.voices ? 0 : -0.5
  // Before the hit where there is room, after it at the beginning of all.
  const way = offset - low >= 0.25 ? -1 : 1
  const room = way < 0 ? offset - low : LAST_OFFSET - offset
  const gap = Math.min(GRACE_GAP, room / Math.max(count - 1, 1))
  const graces = Array.from({ length: count - 1 }, (_, i) => ({
    offset: Math.fround(offset + way * gap * (i + 1)), velocity: Math.fround(Math.max(song.velocity[cell] * GRACE_RATIO, 1 / 127)), openness: NaN,
  }))
  if (graces.length) strokes.set(cell, graces.sort((a, b) => a.offset - b.offset))
  return { ...song, strokes }
}

/** What cells [from, to) have, moved by some cells. */
export function cellsIn<T>(all: ReadonlyMap<number, T>, from: number, to: number, by = -from): Map<number, T> {
  return new Map([...all].filter(([cell]) => cell >= from && cell < to).map(([cell, own]) => [cell + by, own]))
}

export function setLocks(song: Song, cells: Iterable<number>, locked: 0 | 1): Song {
  const changed = song.locked.slice()
  for (const cell of cells) changed[cell] = locked
  return { ...song, locked: changed }
}

export function setVoiceLock(song: Song, voice: number, locked: boolean): Song {
  return { ...song, lockedVoices: song.lockedVoices.map((was, v) => (v === voice ? locked : was)) }
}

export function setAsks(song: Song, first: number, last: number, change: Partial<Ask>): Song {
  const asks = song.asks.slice()
  while (asks.length < last) asks.push(OPEN)
  for (let bar = first; bar < last; bar++) asks[bar] = { ...asks[bar], ...change }
  return { ...song, asks }
}

/** Hits and how they are played. */
export interface Part {
  hits: Uint8Array
  velocity: Float32Array
  offset: Float32Array
  openness: Float32Array
  strokes: Strokes
  /** Of what was written; what the model makes is always played. */
  chances?: Chances
}

/** A part without hits. */
export function emptyPart(cells: number): Part & { strokes: Map<number, readonly Stroke[]> } {
  return {
    hits: new Uint8Array(cells), velocity: new Float32Array(cells), offset: new Float32Array(cells),
    openness: new Float32Array(cells).fill(NaN), strokes: new Map(),
  }
}

/** With a part in place of what stood from `firstStep` on; the song grows where the part goes beyond its end. */
export function replace(song: Song, firstStep: number, part: Part): Song {
  const start = firstStep * song.voices
  const end = Math.max(song.hits.length, start + part.hits.length)
  const grown = <T extends Uint8Array | Float32Array>(was: T, now: T | null): T => {
    const all = new (was.constructor as new (size: number) => T)(end)
    all.set(was)
    if (now) all.set(now, start)
    return all
  }
  const inPlace = <T>(was: ReadonlyMap<number, T>, now: ReadonlyMap<number, T>) => new Map([
    ...cellsIn(was, 0, start, 0), ...cellsIn(now, 0, part.hits.length, start), ...cellsIn(was, start + part.hits.length, Infinity, 0),
  ])
  const asks = song.asks.slice()
  const count = Math.ceil(end / song.voices / song.stepsPerBar)
  while (asks.length < count) asks.push(OPEN)
  return {
    ...song,
    hits: grown(song.hits, part.hits),
    velocity: grown(song.velocity, part.velocity),
    offset: grown(song.offset, part.offset),
    openness: grown(song.openness, part.openness),
    strokes: inPlace(song.strokes, part.strokes),
    chances: inPlace(song.chances, part.chances ?? new Map()),
    locked: grown(song.locked, null),
    asks,
  }
}

/** How many hits bars [first, last) have. */
export function hitsIn(song: Song, first: number, last: number): number {
  const size = song.stepsPerBar * song.voices
  return song.hits.subarray(first * size, last * size).reduce((sum, hit) => sum + hit, 0)
}

/** Bars [first, last) emptied, locked cells as they are. */
export function clear(song: Song, first: number, last: number): Song {
  const size = song.stepsPerBar * song.voices
  const cells = []
  for (let cell = first * size; cell < Math.min(last * size, song.hits.length); cell++) {
    if (song.hits[cell] && !isLocked(song, cell)) cells.push(cell)
  }
  return setHits(song, cells, 0)
}

export function part(song: Song, firstStep: number, lastStep = steps(song)): Part {
  const [start, end] = [firstStep * song.voices, lastStep * song.voices]
  return {
    hits: song.hits.slice(start, end),
    velocity: song.velocity.slice(start, end),
    offset: song.offset.slice(start, end),
    openness: song.openness.slice(start, end),
    strokes: cellsIn(song.strokes, start, end),
    chances: cellsIn(song.chances, start, end),
  }
}
