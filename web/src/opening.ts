/** The song that opens the page. */

import type { Meta } from './meta'
import { stepsPerBar } from './meta'
import * as songs from './song'
import type { Song } from './song'

/** A beat of four bars, the last with a turn. */
export function openingSong(meta: Meta): Song {
  const size = stepsPerBar(meta.grid)
  const voices = meta.kit.voices.length
  let song = { ...songs.emptySong(voices, size, 4), tempo: 104, swing: 0.15 }
  const rows: Record<string, string[]> = {
    kick: ['x.....x.x.......', 'x.....x.x..x....', 'x.....x.x.......', 'x.....x.x.x.....'],
    snare: ['....x..o.o..x...', '....x..o.o..x..o', '....x..o.o..x...', '....x..o....x.xx'],
    closed_hat: ['x.o.x.o.x.o.x.o.', 'x.o.x.o.x.o.x...', 'x.o.x.o.x.o.x.o.', 'x.o.x.o.x.......'],
    open_hat: ['................', '..............x.', '................', '................'],
    high_tom: ['................', '................', '................', '.........x......'],
    low_tom: ['................', '................', '................', '...........x....'],
  }
  meta.kit.voices.forEach(({ name }, voice) => {
    rows[name]?.forEach((row, bar) => {
      Array.from(row.slice(0, size)).forEach((letter, step) => {
        if (letter !== '.') song = songs.setHits(song, [(bar * size + step) * voices + voice], 1, letter === 'x' ? 0.85 : 0.4)
      })
    })
  })
  return song
}
