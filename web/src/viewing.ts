/** What of the song is in the grid: some bars, or a part of one where a whole bar has no room. */

import { stepsPerBar, stepsPerPulse, type Grid } from './grids'

/** Pixels of the least cell that a finger meets, of the gap beside it, and of the wider one before a pulse, at most. */
const LEAST_CELL = 24
const GAP = 2
const PULSE_GAP = 4.5

export interface View {
  /** First bar. */
  first: number
  bars: number
  /** Of the bar's parts the one in view; parts are 1 where whole bars are. */
  part: number
  parts: number
}

export const WHOLE: View = { first: 0, bars: 4, part: 0, parts: 1 }

/** Steps of a part of a bar: whole pulses, so that the last part may be shorter. */
function partSteps(grid: Grid, parts: number): number {
  const pulse = stepsPerPulse(grid)
  return Math.ceil(stepsPerBar(grid) / parts / pulse) * pulse
}

/** The first step in view, and how many are. */
export function stepsInView({ first, bars, part, parts }: View, grid: Grid): { first: number; count: number } {
  const size = stepsPerBar(grid)
  const length = partSteps(grid, parts)
  if (parts === 1) return { first: first * size, count: bars * size }
  return { first: first * size + part * length, count: Math.min(length, size - part * length) }
}

/** The view that has a step in it. */
export function withStep(view: View, grid: Grid, step: number): View {
  const size = stepsPerBar(grid)
  const first = Math.floor(Math.floor(step / size) / view.bars) * view.bars
  const part = view.parts === 1 ? 0 : Math.floor((step % size) / partSteps(grid, view.parts))
  return first === view.first && part === view.part ? view : { ...view, first, part }
}

/** How many bars have room in so many columns, or into how many parts a bar is to be cut; a pulse is always whole. */
export function fitting(grid: Grid, columns: number, mostBars: number): { bars: number; parts: number } {
  const size = stepsPerBar(grid)
  const pulses = Math.ceil(size / stepsPerPulse(grid))
  let parts = 1
  while (parts < pulses && partSteps(grid, parts) > columns) parts++
  return { bars: Math.max(1, Math.min(mostBars, Math.floor(columns / size))), parts }
}

/** How many columns of cells for fingers have room in a width. */
export function columnsIn(width: number, grid: Grid): number {
  const needed = (columns: number) => (
    columns * LEAST_CELL + (columns - 1) * GAP + (Math.ceil(columns / stepsPerPulse(grid)) - 1) * PULSE_GAP
  )
  let columns = 1
  while (needed(columns + 1) <= width) columns++
  return columns
}

/** The part in words, where it is not a whole bar. */
export function partName({ part, parts }: View): string {
  return parts === 1 ? '' : `, ${parts === 2 ? 'half' : 'part'} ${part + 1}`
}
