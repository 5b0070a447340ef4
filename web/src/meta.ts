/** What an export says of itself: `meta.json`, see `hypermeter export`. */

export interface Tensor {
  /** As in the graph, but without `state_` or `next_`. */
  name: string
  /** Without the batch axis. */
  shape: number[]
  dtype: 'float32' | 'int64'
}

/** Of the bar attention, kept by the player: for each step of the bar, the rows of the last bars. */
export interface Memory {
  steps_per_bar: number
  window: number
  size: number
}

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
  grid: { steps_per_beat: number; beats_per_bar: number; bars_per_phrase: number; beat_unit: number }
  width: number
  num_drums: number
  labels: Record<string, string[]> | null
  plan_dim: number
  state: Tensor[]
  memory: Memory | null
  /** Of the kinds and numbers of a plan. */
  kinds: string[]
  numbers: string[]
  expression: { components: number; state: Tensor[]; velocity: Bins; offset: Bins } | null
}

/** Steps in a bar. */
export function stepsPerBar(grid: Meta['grid']): number {
  return grid.steps_per_beat * grid.beats_per_bar
}
