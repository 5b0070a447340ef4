/** What goes into a MIDI file and comes out of it. */

import type { Strokes } from '../song'
import type { Part } from './drums'

export interface MidiVoice {
  pitches: number[]
  write: number
  /** Whether it is of the hi-hat. */
  isHat?: boolean
}

export interface MidiGroove {
  hits: Uint8Array
  velocity: Float32Array
  offset: Float32Array
  /** Of the hi-hat at its hits; NaN where it is not known. */
  openness: Float32Array
  strokes: Strokes
  /** How late all of it is, in steps: a hit is played at its step, the shift and its offset. */
  shift: number
  tempo: number
}

/** What can be chosen so that a file is read after all: its part with the drums, its pitches, or its tempo map. */
export type Remedy = 'part' | 'pitch-map' | 'tempo-map'

/** What is wrong with a file, for people. */
export class MidiError extends Error {
  /** @param parts of the file, where it has some that can be read */
  constructor(message: string, readonly remedy: Remedy | null = null, readonly parts: Part[] = []) {
    super(message)
  }
}
