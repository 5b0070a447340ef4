/** The grid that a piece is played on: `hypermeter.io.midi.own_grid`, which explains the method. */

import { roundHalfEven } from './bars'

/** Bins of a step in which onsets are counted. */
const BINS = 12
/** Standard deviation of players' shifts in seconds: the prior, which counts as much as so many hits, or all. */
const SHIFT_SD_S = 0.02
const PRIOR_HITS = 32
const SWING = [0.54, 0.56, 0.58, 0.6, 0.62, 0.64, 0.66, 0.68, 0.7, 0.72, 0.74]
/** Shares of the hits on the weaker slots. */
const WEAK_SHARES = [0.2, 0.6]
/** Standard deviations of hits about their slot, in steps. */
const SPREAD = 0.1
const WIDE_SPREAD = 0.2
/** Share of hits that are anywhere. */
const STRAY_SHARE = 0.06
/** Clarity below which a piece has no clear grid. */
export const CLEAR = 0.3
/** Least swing of the halves of a beat that is nearer to triplets, at 2/3, than a sixteenth is to them. */
const TRIPLET_SWING = 0.6
/** A shift below this, in steps, counts as 0. */
const MIN_SHIFT = 0.01
/** How far cells may be moved away from the player's grid, in steps: of equally good ones the first. */
const DISPLACEMENTS = Array.from({ length: 25 }, (_, i) => (12 - i) / 48)
/** In bins; the first and the last are neighbours of those that are compared. */
const SHIFTS = Array.from({ length: BINS + 2 }, (_, i) => i - BINS / 2 - 1)

export interface OwnGrid {
  /** In [-.5, .5) steps, late is positive: what is taken out before steps are chosen. */
  shift: number
  /** In [0, 1]: near 0 there is no grid. */
  clarity: number
  kind: Kind
  /** Where the second of a pair begins, as a share of the pair. */
  swing: number
  /** How far the player is from the written grid, in [-.5, .5) steps. */
  playerShift: number
  /** Steps of a quarter note that fit the playing: 4, or 3 or 6 of triplets. */
  stepsPerQuarter: number
}

/** The shifts in steps of another grid, with so many times the steps; cells of triplets are not moved between swung hits. */
export function shiftedOn(grid: OwnGrid, ratio: number): OwnGrid {
  if (ratio === 1) return grid
  const shift = wrapped(roundTo6(grid.playerShift * ratio))
  return { ...grid, shift, playerShift: shift }
}

type Kind = 'straight' | 'triplet' | 'swing'

/** A grid whose slots repeat; the strong ones come first in each pair or beat. */
interface Template {
  kind: Kind
  swing: number
  strong: number[]
  weak: number[]
  spread: number
  slotsPerStep: number
  pairSteps: number
  parameters: number
}

/** @param onsets in steps from any beat */
export function findOwnGrid(onsets: number[], stepsPerBeat: number, stepDuration: number): OwnGrid {
  if (!onsets.length) return { shift: 0, clarity: 0, kind: 'straight', swing: 0.5, playerShift: 0, stepsPerQuarter: 4 }
  const period = stepsPerBeat % 4 === 0 ? 4 : stepsPerBeat % 2 === 0 ? 2 : 1
  const counts = new Float64Array(period * BINS)
  let [remainder, sequenced] = [0, 0] // what counting in bins loses of the mean; hits exactly on steps or thirds of them
  for (const onset of onsets) {
    const nearest = roundHalfEven(onset * BINS)
    const rest = onset * BINS - nearest
    counts[modulo(nearest, counts.length)]++
    remainder += rest / onsets.length
    if (Math.abs(rest) < 1e-6 && nearest % 4 === 0) sequenced++
  }
  const isSequenced = sequenced >= onsets.length / 3
  const { template, column, around } = bestTemplate(counts, period, stepDuration, onsets.length)
  let playerShift = isSequenced ? 0 : roundTo6((SHIFTS[column + 1] + vertexOf(around) + remainder) / BINS)
  if (Math.abs(playerShift) < MIN_SHIFT) playerShift = 0
  const phases = Array.from(counts, (_, bin) => (bin + remainder) / BINS - playerShift)
  let [clarity, shift] = [0, playerShift]
  phases.forEach((phase, bin) => { clarity += (counts[bin] * Math.cos(2 * Math.PI * inSlots(phase, template))) / onsets.length })
  if (template.kind !== 'straight' && !isSequenced) {
    shift = roundTo6(shift + displacement(phases, Array.from(counts, (count) => count / onsets.length)))
  }
  return {
    shift: wrapped(shift), clarity: Math.max(clarity, 0), kind: template.kind, swing: template.swing,
    playerShift: wrapped(playerShift), stepsPerQuarter: stepsThatFit(template),
  }
}

/** Halves of beats that swing by TRIPLET_SWING or more are on triplets. */
function stepsThatFit({ kind, weak, pairSteps, swing }: Template): number {
  if (kind === 'triplet') return weak.length === 2 && weak[0] === 4 / 3 && weak[1] === 8 / 3 ? 3 : 6
  return kind === 'swing' && pairSteps === 4 && swing >= TRIPLET_SWING ? 3 : 4
}

const modulo = (value: number, size: number) => ((value % size) + size) % size

const roundTo6 = (value: number) => roundHalfEven(value * 1e6) / 1e6

const wrapped = (shift: number) => (shift >= 0.5 ? shift - 1 : shift < -0.5 ? shift + 1 : shift)

/** Where the parabola through values at -1, 0 and 1 is highest, in [-.5, .5]; 0 if it has no top. */
function vertexOf([before, top, after]: number[]): number {
  const curvature = before - 2 * top + after
  return curvature < 0 ? Math.min(Math.max((0.5 * (before - after)) / curvature, -0.5), 0.5) : 0
}

/** Templates with the log-likelihood of an onset in each bin; made once for each period. */
const tables = new Map<number, { template: Template; logs: Float64Array }[]>()

function tableOf(period: number): { template: Template; logs: Float64Array }[] {
  const table = tables.get(period) ?? templatesOf(period).flatMap((template) => (
    (template.weak.length ? WEAK_SHARES : [0]).map((share) => ({ template, logs: logDensity(template, share, period) }))
  ))
  tables.set(period, table)
  return table
}

/** The template and the shift that score best, and the scores of that shift and its neighbours. */
function bestTemplate(counts: Float64Array, period: number, stepDuration: number, hits: number) {
  const priors = SHIFTS.map((shift) => 0.5 * ((shift / BINS) * stepDuration / SHIFT_SD_S) ** 2 * Math.max(1, hits / PRIOR_HITS))
  const table = tableOf(period)
  let best = { template: table[0].template, column: 0, around: [0, 0, 0] }
  let bestScore = -Infinity
  for (const { template, logs } of table) {
    const penalty = Math.log(hits) * template.parameters
    const scores = SHIFTS.map((shift, i) => {
      let score = 0
      for (let bin = 0; bin < counts.length; bin++) score += counts[bin] * logs[modulo(bin - shift, counts.length)]
      return score - priors[i] - penalty
    })
    for (let column = 0; column < BINS; column++) {
      if (scores[column + 1] <= bestScore + 1e-9) continue // ties are the first's, the simplest
      bestScore = scores[column + 1]
      best = { template, column, around: scores.slice(column, column + 3) }
    }
  }
  return best
}

function logDensity({ strong, weak, spread }: Template, share: number, period: number): Float64Array {
  const density = Float64Array.from({ length: period * BINS }, (_, bin) => {
    let sum = 0
    for (const [slots, weight] of [[strong, 1 - share], [weak, share]] as const) {
      for (const slot of slots) {
        const distance = modulo(bin / BINS - slot + period / 2, period) - period / 2
        sum += (weight / slots.length) * Math.exp(-0.5 * (distance / spread) ** 2)
      }
    }
    return sum
  })
  const total = density.reduce((sum, value) => sum + value, 0)
  return density.map((value) => Math.log(((1 - STRAY_SHARE) * value) / total + STRAY_SHARE / density.length))
}

function templatesOf(period: number): Template[] {
  const template = (kind: Kind, swing: number, strong: number[], weak: number[], rest: Partial<Template> = {}): Template => (
    { kind, swing, strong, weak, spread: SPREAD, slotsPerStep: 1, pairSteps: 2, parameters: 0, ...rest }
  )
  const spreads = [SPREAD, WIDE_SPREAD]
  if (period === 1) return spreads.map((spread) => template('straight', 0.5, [0], [], { spread }))
  const even = Array.from({ length: period / 2 }, (_, i) => 2 * i)
  const odd = even.map((step) => step + 1)
  const halves = Array.from({ length: period }, (_, step) => step + 0.5)
  const triplets = even.flatMap((step) => [step + 2 / 3, step + 4 / 3])
  const templates = [
    ...spreads.map((spread) => template('straight', 0.5, even, odd, { spread })),
    ...(period === 4 ? [template('straight', 0.5, [0], [2])] : []),
    template('straight', 0.5, even, [...odd, ...halves], { slotsPerStep: 2, parameters: 1 }),
    template('triplet', 0.5, even, triplets, { slotsPerStep: 1.5, parameters: 1 }),
    ...SWING.map((swing) => template('swing', swing, even, even.map((step) => step + 2 * swing), { parameters: 2 })),
  ]
  if (period === 4) {
    templates.push(template('triplet', 0.5, [0], [4 / 3, 8 / 3], { slotsPerStep: 1.5, parameters: 1 }))
    templates.push(...SWING.map((swing) => template('swing', swing, [0], [4 * swing], { pairSteps: 4, parameters: 2 })))
  }
  return templates
}

/** A phase in steps as a number of slots, of which whole numbers are on the grid. */
function inSlots(phase: number, { kind, swing, slotsPerStep, pairSteps }: Template): number {
  if (kind !== 'swing') return phase * slotsPerStep
  const inside = modulo(phase, pairSteps)
  const second = pairSteps * swing
  return ((inside < second ? inside / second : 1 + (inside - second) / (pairSteps - second)) * pairSteps) / 2
}

/** By how much cells are moved, in steps, so that their edges are where few hits are. */
function displacement(phases: number[], shares: number[]): number {
  let [best, leastAtEdge] = [0, Infinity]
  for (const moved of DISPLACEMENTS) {
    let atEdge = 0.05 * Math.abs(moved)
    phases.forEach((phase, bin) => {
      if (shares[bin]) atEdge += shares[bin] * Math.exp(16 * (Math.cos(2 * Math.PI * (phase - 0.5 - moved)) - 1))
    })
    if (atEdge < leastAtEdge - 1e-12) [best, leastAtEdge] = [moved, atEdge]
  }
  return best
}
