/** What is played of a song: which bars one after the other, which voices, and which of the hits that have a chance. */

import { inOrder } from './patterns'
import { uniforms } from './rng'
import { isHeard, type Mixer, type Settings } from './settings'
import * as songs from './song'
import type { Song } from './song'

/** What random numbers are used for, beside what the model uses them for, see rng.ts. */
const CHANCE = 8

/** The bars of a song as they are played: in the order of its patterns, or one after the other. */
export function barsPlayed(song: Song, { ordered, endless }: Pick<Settings, 'ordered' | 'endless'>): number[] {
  return (ordered && !endless && inOrder(song)) || Array.from({ length: songs.bars(song) }, (_, bar) => bar)
}

/**
 * Whether a hit is played this time.
 *
 * @param place step of the playing, which has its bars in order
 * @param pass times that the playing began anew: files have the first, which is 0
 */
export function falls(song: Song, cell: number, place: number, pass: number): boolean {
  const chance = songs.chanceOf(song, cell)
  return chance >= 1 || uniforms(song.roll + 2 ** 32 * (pass % 2 ** 20), CHANCE, cell % song.voices, place, 1)[0] < chance
}

/** A song as its first playing has it: bars in their order, voices that are heard, hits that fall; nothing is left to chance. */
export function performed(song: Song, mixer: Mixer, bars: readonly number[]): Song {
  const size = song.stepsPerBar * song.voices
  const found = { ...songs.emptySong(song.voices, song.grid, bars.length), tempo: song.tempo, swing: song.swing, shift: song.shift }
  const strokes = new Map<number, readonly songs.Stroke[]>()
  bars.forEach((bar, place) => {
    for (let inBar = 0; inBar < size; inBar++) {
      const [from, to] = [bar * size + inBar, place * size + inBar]
      const isPlayed = song.hits[from] && isHeard(mixer, from % song.voices) && falls(song, from, Math.floor(to / song.voices), 0)
      if (!isPlayed) continue
      found.hits[to] = 1
      for (const name of ['velocity', 'offset', 'openness'] as const) found[name][to] = song[name][from]
      const own = song.strokes.get(from)
      if (own) strokes.set(to, own)
    }
  })
  return { ...found, strokes }
}

/** Strokes of a step, of whatever voice, with when they sound in steps from its line. */
export function strokesAt(song: Song, step: number): { voice: number; velocity: number; late: number; openness: number; cell: number }[] {
  const found = []
  for (let voice = 0; voice < song.voices; voice++) {
    const cell = step * song.voices + voice
    if (!song.hits[cell]) continue
    found.push({ voice, cell, velocity: song.velocity[cell], late: songs.placed(song, cell), openness: song.openness[cell] })
    for (const { offset, velocity, openness } of song.strokes.get(cell) ?? []) {
      found.push({ voice, cell, velocity, late: songs.placed(song, cell, offset), openness: Number.isNaN(openness) ? song.openness[cell] : openness })
    }
  }
  return found
}
