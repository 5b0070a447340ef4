/** What a model can be asked, measured in bars that stand already: as `hypermeter.play.plan.plan_of` measures it. */

import { stepsPerBar, type Grid } from './grids'

/** A bar with more novelty is a fill. */
export const FILL_NOVELTY = 0.2

export interface Measured {
  /** Share of cells with a hit. */
  density: number
  /** Share of hits off the beat; NaN where there are none. */
  offbeat: number
  /** Null where too few bars are around to tell, and of a last bar that is short. */
  isFill: boolean | null
}

/** @param hits (steps, voices), 0 or 1, from a bar line on */
export function measure(hits: Uint8Array, voices: number, grid: Grid): Measured[] {
  const size = stepsPerBar(grid) * voices
  const bars = Array.from({ length: Math.ceil(hits.length / size) }, (_, bar) => hits.subarray(bar * size, (bar + 1) * size))
  const novelties = noveltyOf(bars.filter((bar) => bar.length === size), grid.bars_per_phrase)
  return bars.map((bar, number) => {
    const off = bar.filter((_, cell) => Math.floor(cell / voices) % grid.steps_per_beat > 0)
    const novelty = novelties[number] ?? NaN
    return {
      density: count(bar) / bar.length,
      offbeat: count(off) / count(bar),
      isFill: Number.isNaN(novelty) ? null : novelty > FILL_NOVELTY,
    }
  })
}

/**
 * How much each bar breaks with those around it, up to `reach` before and after it: their likeness among themselves less
 * its likeness to them; NaN where fewer than two are around it. As `bar_novelty` in `hypermeter.music.metrics`.
 */
export function noveltyOf(bars: Uint8Array[], reach: number): number[] {
  return bars.map((bar, number) => {
    const around = [...bars.slice(Math.max(number - reach, 0), number), ...bars.slice(number + 1, number + reach + 1)]
    const among = around.flatMap((one, i) => around.filter((_, j) => j !== i).map((other) => likeness(one, other)))
    return mean(among) - mean(around.map((other) => likeness(bar, other)))
  })
}

/** F1 of the hits; 1 for two empty bars. */
function likeness(one: Uint8Array, other: Uint8Array): number {
  const all = count(one) + count(other)
  let both = 0
  for (let cell = 0; cell < one.length; cell++) both += one[cell] & other[cell]
  return all ? (2 * both) / all : 1
}

function count(cells: Uint8Array): number {
  let sum = 0
  for (const cell of cells) sum += cell
  return sum
}

/** NaN of none. */
function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
