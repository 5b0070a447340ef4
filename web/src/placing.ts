/** What was made anew, put in its place in a song that may have changed meanwhile. */

import * as songs from './song'
import type { Ask, Part, Song } from './song'

/** The new part over the song as it is now, as far as it goes: cells that were known or are locked stay as they are. */
export function placed(song: Song, start: number, part: Part, known: Uint8Array): Song {
  if (start >= songs.steps(song)) return song
  const was = songs.part(song, start, Math.min(songs.steps(song), start + known.length / song.voices))
  const strokes = new Map(was.strokes)
  const chances = new Map(was.chances)
  was.hits.forEach((_, cell) => {
    if (known[cell] || songs.isLocked(song, start * song.voices + cell)) return
    was.hits[cell] = part.hits[cell]
    was.velocity[cell] = part.velocity[cell]
    was.offset[cell] = part.offset[cell]
    was.openness[cell] = part.openness[cell]
    const own = part.strokes.get(cell)
    if (own) strokes.set(cell, own)
    else strokes.delete(cell)
    chances.delete(cell)
  })
  return songs.replace(song, start, { ...was, strokes, chances })
}

/** What of an ask is another than it was. */
export function changed(was: Ask, now: Ask): Partial<Ask> {
  return Object.fromEntries(Object.entries(now).filter(([name, value]) => value !== was[name as keyof Ask]))
}

export function named(first: number, last: number): string {
  return last - first === 1 ? `bar ${first + 1}` : `bars ${first + 1}–${last}`
}
