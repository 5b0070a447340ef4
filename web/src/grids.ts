/** Grids: metres and the steps of their beats, as `hypermeter.core.grid` has them; and what the place of a step is. */

export interface Grid {
  steps_per_beat: number
  beats_per_bar: number
  bars_per_phrase: number
  /** Note value of a beat: the lower number of a time signature. */
  beat_unit: number
}

/** Steps in a bar. */
export function stepsPerBar(grid: Grid): number {
  return grid.steps_per_beat * grid.beats_per_bar
}

/** Steps in a quarter note, which tempo and MIDI ticks refer to. */
export function stepsPerQuarter(grid: Grid): number {
  return (grid.steps_per_beat * grid.beat_unit) / 4
}

/** Milliseconds of a step at a tempo, of quarters a minute. */
export function stepMs(grid: Grid, tempo: number): number {
  return 60_000 / tempo / stepsPerQuarter(grid)
}

export function metreOf(grid: Grid): string {
  return `${grid.beats_per_bar}/${grid.beat_unit}`
}

/** Whether the pulse of the metre is three of its beats, as in 6/8, 9/8 and 12/8. */
export function isCompound({ beat_unit, beats_per_bar }: Grid): boolean {
  return beat_unit >= 8 && beats_per_bar % 3 === 0 && beats_per_bar > 3
}

/** Steps of a pulse: of a beat, or of three in a compound metre. */
export function stepsPerPulse(grid: Grid): number {
  return grid.steps_per_beat * (isCompound(grid) ? 3 : 1)
}

/** The metre, and what steps its beats have where they are not sixteenths. */
export function nameOf(grid: Grid): string {
  const perQuarter = stepsPerQuarter(grid)
  const kinds: Record<number, string> = { 3: ', triplets', 4: '', 6: ', triplets of sixteenths' }
  return `${metreOf(grid)}${kinds[perQuarter] ?? `, ${grid.steps_per_beat} steps a beat`}`
}

/** The grid of a metre whose steps fit the playing, as `GridChoice.grid` of Python: sixteenths where beats have no such steps. */
export function fittingGrid(beats: number, unit: number, perQuarter: number, barsPerPhrase = 4): Grid {
  const fits = (4 * perQuarter) % unit === 0
  return { steps_per_beat: fits ? (4 * perQuarter) / unit : Math.max(Math.floor(16 / unit), 1), beats_per_bar: beats, bars_per_phrase: barsPerPhrase, beat_unit: unit }
}

export function areSame(one: Grid, other: Grid): boolean {
  return one.steps_per_beat === other.steps_per_beat && one.beats_per_bar === other.beats_per_bar
    && one.beat_unit === other.beat_unit && one.bars_per_phrase === other.bars_per_phrase
}

// ------------------------------------------------------------------ places, as `hypermeter.play.places`

const PULSES = 8
const BARS = 4
const BEAT_HARMONICS = [1, 2, 3, 4, 6]
const BAR_HARMONICS = [1, 2, 3, 4, 5, 6, 8]
const NOTE_LENGTHS = [2, 1, 0.5, 0.25]
const KNOWN_STEPS_PER_QUARTER = [3, 4, 6]

/** The features of each step of a phrase, (steps, features). */
export function placeFeatures(grid: Grid): { features: Float32Array; size: number } {
  const perBar = stepsPerBar(grid)
  const pulse = stepsPerPulse(grid)
  const perQuarter = stepsPerQuarter(grid)
  const pulses = Math.floor(perBar / pulse)
  const rows: number[][] = []
  for (let place = 0; place < perBar * grid.bars_per_phrase; place++) {
    const step = place % perBar
    const bar = Math.floor(place / perBar)
    const angles = [
      ...BEAT_HARMONICS.map((harmonic) => (step / pulse) * harmonic),
      ...BAR_HARMONICS.map((harmonic) => (step / perBar) * harmonic),
      ...NOTE_LENGTHS.map((length) => step / perQuarter / length),
    ].map((turn) => 2 * Math.PI * turn)
    rows.push([
      ...angles.map(Math.cos), ...angles.map(Math.sin),
      ...counted(Math.floor(step / pulse), pulses, PULSES),
      ...counted(bar, grid.bars_per_phrase, BARS),
      ...oneHot(Math.min(pulses, PULSES) - 1, PULSES),
      ...[step === 0, step % pulse === 0, step % grid.steps_per_beat === 0].map(Number),
      ...KNOWN_STEPS_PER_QUARTER.map((known) => Number(perQuarter === known)),
      Number(isCompound(grid)), Math.min(perQuarter / 12, 1), Math.min(perBar / 32, 1),
    ])
  }
  return { features: Float32Array.from(rows.flat()), size: rows[0].length }
}

/** A number, counted from the first and from the last of `count`, each as zeros with a one. */
function counted(number: number, count: number, size: number): number[] {
  return [...oneHot(Math.min(number, size - 1), size), ...oneHot(Math.min(count - 1 - number, size - 1), size)]
}

function oneHot(place: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Number(i === place))
}
