/** What the page asks of the model's thread (or of the server), and what it answers. */

import type { Grid } from './grids'
import type { Part } from './song'

/** A plan as `hypermeter.play.plan` has it, a row for each bar from the first that is heard. */
export interface Asked {
  /** (bars, kinds), 1 + place in the vocabulary, 0 open. */
  labels: number[]
  /** (bars, numbers), NaN open. */
  numbers: number[]
}

/** A song as far as the model hears it. */
export interface HeardSong extends Part {
  tempo: number
  grid: Grid
}

interface Options {
  seed: number
  temperature: number
  topP: number
  /** Of each voice, or null. */
  bias: number[] | null
  /** Counts where something beyond the tempo is asked of any bar. */
  guidance: number
  asked: Asked | null
  song: HeardSong
}

export interface ContinueOptions extends Options {
  bars: number
  /** Whether what was heard before the song may count too: endless play sends only the last bars. */
  mayRemember?: boolean
}

export interface InfillOptions extends Options {
  /** The first step that may change; what is before it is heard only. */
  start: number
  /** From `start` on, 1 where a cell stays as it is. */
  known: Uint8Array
  /** From `start` on, 1 for the voices of each step of which at least one sounds; null demands nothing. */
  some?: Uint8Array | null
  particles: number
  horizonBars: number | null
}

export type ContinueRequest = { id: number; kind: 'continue' } & ContinueOptions
export type InfillRequest = { id: number; kind: 'infill' } & InfillOptions
export type Request =
  | { id: number; kind: 'load'; base: string }
  | { id: number; kind: 'cancel' }
  | { id: number; kind: 'hear'; song: HeardSong }
  | ContinueRequest
  | InfillRequest

export type Answer =
  | { id: number; kind: 'done' }
  | { id: number; kind: 'cancelled' }
  | { id: number; kind: 'error'; message: string }
  | { id: number; kind: 'progress'; share: number }
  | { id: number; kind: 'bar'; bar: number; part: Part }
  | { id: number; kind: 'filled'; part: Part; smallest: number }

export interface Filled {
  part: Part
  /** Effective sample size at its least: below 2, the locks left little choice. */
  smallest: number
}

/** Where music is made: in the page or on the server. */
export interface Engine {
  /** Resolves when it can be asked. */
  ready: Promise<void>
  continue(options: ContinueOptions, onBar: (bar: number, part: Part) => void, signal?: AbortSignal): Promise<void>
  /** Hears a song beforehand, until something else is asked; where that helps. */
  hear?(song: HeardSong): void
  infill(options: InfillOptions, onProgress?: (share: number) => void, signal?: AbortSignal): Promise<Filled>
}
