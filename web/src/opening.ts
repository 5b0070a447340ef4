/** The song that opens the page, and what a new song begins with. */

import { metreOf, stepsPerBar, stepsPerPulse, stepsPerQuarter, type Grid } from './grids'
import type { Meta } from './meta'
import * as songs from './song'
import type { Song } from './song'

const LOUD = 0.85
const SOFT = 0.4

/** A beat of four bars, the last with a turn, in 4/4; in other metres a plain beat. */
export function openingSong(meta: Meta, grid: Grid): Song {
  const size = stepsPerBar(grid)
  const rows = metreOf(grid) === '4/4' && stepsPerQuarter(grid) === 4 ? BEAT : plainBeat(grid)
  const voices = meta.kit.voices.length
  let song = { ...songs.emptySong(voices, grid, 4), tempo: 104 }
  if (rows === BEAT) song.swing = 0.15
  meta.kit.voices.forEach(({ name }, voice) => {
    rows[name]?.forEach((row, bar) => {
      Array.from(row.slice(0, size)).forEach((letter, step) => {
        if (letter !== '.') song = songs.setHits(song, [(bar * size + step) * voices + voice], 1, letter === 'x' ? LOUD : SOFT)
      })
    })
  })
  return song
}

const BEAT: Record<string, string[]> = {
  kick: ['x.....x.x.......', 'x.....x.x..x....', 'x.....x.x.......', 'x.....x.x.x.....'],
  snare: ['....x..o.o..x...', '....x..o.o..x..o', '....x..o.o..x...', '....x..o....x.xx'],
  closed_hat: ['x.o.x.o.x.o.x.o.', 'x.o.x.o.x.o.x...', 'x.o.x.o.x.o.x.o.', 'x.o.x.o.x.......'],
  open_hat: ['................', '..............x.', '................', '................'],
  high_tom: ['................', '................', '................', '.........x......'],
  low_tom: ['................', '................', '................', '...........x....'],
}

/** The kick on the first pulse, the snare on every second one, the hi-hat on pulses and on the last step that leads to the next. */
function plainBeat(grid: Grid): Record<string, string[]> {
  const [size, pulse] = [stepsPerBar(grid), stepsPerPulse(grid)]
  const between = pulse % 3 === 0 && grid.steps_per_beat % 2 ? pulse - 1 : pulse / 2
  const row = (letter: (step: number) => string) => new Array(4).fill(Array.from({ length: size }, (_, step) => letter(step)).join(''))
  return {
    kick: row((step) => (step === 0 ? 'x' : '.')),
    snare: row((step) => (step % pulse === 0 && (step / pulse) % 2 === 1 ? 'x' : '.')),
    closed_hat: row((step) => (step % pulse === 0 ? 'x' : step % pulse === Math.floor(between) || (pulse === 6 && step % 2 === 0) ? 'o' : '.')),
  }
}
