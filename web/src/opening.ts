/** The song that opens the page, and what a new song begins with. */

import { beatsFor, written } from './beats'
import { areSame, stepsPerBar, stepsPerPulse, type Grid } from './grids'
import type { Meta } from './meta'
import type { Song } from './song'

const BARS = 4

/** A beat of four bars: the first one to begin with that is in the metre, else a plain one. */
export function openingSong(meta: Meta, grid: Grid): Song {
  return beatsFor(meta).find(({ song }) => areSame(song.grid, grid))?.song ?? { ...written(meta, grid, plainBeat(grid), BARS), tempo: 104 }
}

/** The kick on the first pulse, the snare on every second one, the hi-hat on pulses and on the last step that leads to the next. */
function plainBeat(grid: Grid): Map<string, string[]> {
  const [size, pulse] = [stepsPerBar(grid), stepsPerPulse(grid)]
  const between = pulse % 3 === 0 && grid.steps_per_beat % 2 ? pulse - 1 : pulse / 2
  const row = (letter: (step: number) => string) => new Array<string>(BARS).fill(Array.from({ length: size }, (_, step) => letter(step)).join(''))
  return new Map([
    ['kick', row((step) => (step === 0 ? 'X' : '.'))],
    ['snare', row((step) => (step % pulse === 0 && (step / pulse) % 2 === 1 ? 'X' : '.'))],
    ['closed_hat', row((step) => (step % pulse === 0 ? 'X' : step % pulse === Math.floor(between) || (pulse === 6 && step % 2 === 0) ? 'o' : '.'))],
  ])
}
