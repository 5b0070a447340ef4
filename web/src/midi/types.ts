/** What goes into a MIDI file and comes out of it. */

import type { Part } from './drums'

export interface MidiVoice {
  pitches: number[]
  write: number
}

export interface MidiGroove {
  hits: Uint8Array
  velocity: Float32Array
  offset: Float32Array
  /** How late all of it is, in steps: a hit is played at its step, the shift and its offset. */
  shift: number
  tempo: number
}

/** What is wrong with a file, for people. */
export class MidiError extends Error {
  /** @param parts of the file, where its drums are one of them that is to be chosen */
  constructor(message: string, readonly parts: Part[] = []) {
    super(message)
  }
}
