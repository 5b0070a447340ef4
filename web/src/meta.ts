/** What a model says of itself: `meta.json`, see `hypermeter export --format page`. */

import type { Grid } from './grids'
import type { Named } from './weights'

export { stepsPerBar } from './grids'

/** Equal bins by their centres: (number + lowest) / per_unit. */
export interface Bins {
  lowest: number
  count: number
  per_unit: number
}

export interface Meta {
  format: number
  name: string
  kit: { name: string; voices: { name: string; label: string; pitches: number[]; write: number }[] }
  grid: Grid
  /** Grids that the model learnt. */
  grids: Grid[]
  /** Whether it plays on others too. */
  serves_every_grid: boolean
  width: number
  num_drums: number
  labels: Record<string, string[]> | null
  /** Of the kinds and numbers of a plan. */
  kinds: string[]
  numbers: string[]
  /** Earlier bars that the bar attention sees; 0 for a model without. */
  attention_bars: number
  /** Steps of each earlier bar that the step level takes in; 0 for a model without. */
  look_back_steps: number
  /** Bins of velocity and offset; null for a model that plays hits only. */
  expression: { velocity: Bins; offset: Bins } | null
  /** Voices of the hi-hat. */
  hats: number[]
  /** The arrays in weights.bin, in their order. */
  weights: Named[]
}

/** The voices as the MIDI reader and writer take them. */
export function midiVoices({ kit, hats }: Meta) {
  return kit.voices.map((voice, number) => ({ ...voice, isHat: hats.includes(number) }))
}

/** Format of the model's folder that the page reads. */
export const FORMAT = 2
