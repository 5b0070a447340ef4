/** Bars taken out of a song and put in: to copy, insert, remove and move them. */

import { nameOf, type Grid } from './grids'
import { refitted, swapped } from './patterns'
import * as songs from './song'
import type { Ask, Part, Song } from './song'

/** Bars with all that is written in them. */
export interface Clip {
  grid: Grid
  voices: number
  part: Part
  locked: Uint8Array
  asks: Ask[]
}

/** Bars [first, last). */
export function taken(song: Song, first: number, last: number): Clip {
  const size = song.stepsPerBar * song.voices
  return {
    grid: song.grid, voices: song.voices,
    part: songs.part(song, first * song.stepsPerBar, last * song.stepsPerBar),
    locked: song.locked.slice(first * size, last * size),
    asks: Array.from({ length: last - first }, (_, bar) => songs.ask(song, first + bar)),
  }
}

export function emptyClip({ grid, voices, stepsPerBar }: Song, count: number): Clip {
  const cells = count * stepsPerBar * voices
  return { grid, voices, part: songs.emptyPart(cells), locked: new Uint8Array(cells), asks: new Array(count).fill(songs.OPEN) }
}

/** Why bars cannot be put into a song, or null. */
export function misfit(song: Song, clip: Clip, addedBars: number): string | null {
  const [own, other] = [nameOf(song.grid), nameOf(clip.grid)]
  if (own !== other) return `The copied bars are in ${other}, and this song is in ${own}: bars go only into songs of their metre`
  if (clip.voices !== song.voices) return 'The copied bars are of another drum kit'
  if (songs.bars(song) + addedBars > songs.MOST_BARS) return `A song has at most ${songs.MOST_BARS} bars: there is no room for ${addedBars} more`
  return null
}

/** With a clip in place of `gone` bars from bar `at` on. */
function spliced(song: Song, at: number, gone: number, clip: Clip): Song {
  const size = song.stepsPerBar * song.voices
  const [start, end, length] = [at * size, Math.min((at + gone) * size, song.hits.length), clip.part.hits.length]
  const joined = <T extends Uint8Array | Float32Array>(was: T, now: T): T => {
    const all = new (was.constructor as new (size: number) => T)(was.length - (end - start) + length)
    all.set(was.subarray(0, start) as T)
    all.set(now, start)
    all.set(was.subarray(end) as T, start + length)
    return all
  }
  const map = <T>(was: ReadonlyMap<number, T>, now: ReadonlyMap<number, T>) => new Map([
    ...songs.cellsIn(was, 0, start, 0), ...songs.cellsIn(now, 0, length, start), ...songs.cellsIn(was, end, Infinity, start + length - end),
  ])
  const asks = song.asks.slice()
  while (asks.length < at) asks.push(songs.OPEN)
  asks.splice(at, gone, ...clip.asks)
  const { part } = clip
  return {
    ...song,
    hits: joined(song.hits, part.hits),
    velocity: joined(song.velocity, part.velocity),
    offset: joined(song.offset, part.offset),
    openness: joined(song.openness, part.openness),
    strokes: map(song.strokes, part.strokes),
    chances: map(song.chances, part.chances ?? new Map()),
    locked: joined(song.locked, clip.locked),
    asks,
  }
}

/** With bars before bar `at`. */
export function inserted(song: Song, at: number, clip: Clip): Song {
  return refitted(spliced(song, at, 0, clip), at, 0, clip.asks.length)
}

/** Without bars [first, last). */
export function removed(song: Song, first: number, last: number): Song {
  return refitted(spliced(song, first, last - first, emptyClip(song, 0)), first, last - first, 0)
}

/** With bars over those from bar `at` on; the song grows where they go beyond its end. */
export function overwritten(song: Song, at: number, clip: Clip): Song {
  const count = clip.asks.length
  return spliced(song, at, Math.min(count, songs.bars(song) - at), clip)
}

/** With bars [first, last) so many bars later, or earlier; as far as there are bars. */
export function moved(song: Song, first: number, last: number, by: number): Song {
  const way = Math.max(-first, Math.min(by, songs.bars(song) - last))
  if (!way) return song
  const gone = spliced(song, first, last - first, emptyClip(song, 0))
  return swapped(spliced(gone, first + way, 0, taken(song, first, last)), first, last, way)
}

/** As many bars as told: the rest is cut off, or empty bars are added; nothing is asked of bars to come. */
export function resized(song: Song, count: number): Song {
  const now = songs.bars(song)
  const rest = { ...song, asks: song.asks.slice(0, now) }
  const added = { ...emptyClip(song, Math.max(0, count - now)), asks: song.asks.slice(now, count) }
  while (added.asks.length < count - now) added.asks.push(songs.OPEN)
  return count < now ? removed(rest, count, now) : spliced(rest, now, 0, added)
}
