/** Drums that follow a rhythm: what its taps ask of each step; as `hypermeter.play.follow`. */

import { DEFAULTS } from './bounds'
import type { Meta } from './meta'
import { streamsOf } from './voices'

/** A rhythm on one voice, from a bar line on. */
export interface Rhythm {
  name: string
  /** Of each step, 1 for a tap. */
  isTap: Uint8Array
  /** In (0, 1] at taps; NaN where it is not known. */
  velocity: Float64Array
  /** Whether its notes are on one pitch: then it means that nothing is between them. */
  isOnOnePitch: boolean
}

/** Which voices answer: all, those that are loud, or one by its name. */
export type Answer = 'all' | 'loud' | (string & {})
/** What voices that answer do where there is no tap. */
export type Between = 'silent' | 'free'

const CRASHES = [49, 52, 55, 57]

/** Which voices are loud: kick, snare, toms, hand drums and crashes. */
export function loudVoices(meta: Meta): Uint8Array {
  const streams = streamsOf(meta)
  return Uint8Array.from(meta.kit.voices, ({ write }, voice) => Number(streams[voice] !== 'high' || CRASHES.includes(write)))
}

export function answering(meta: Meta, answer: Answer): Uint8Array {
  if (answer === 'loud') return loudVoices(meta)
  return Uint8Array.from(meta.kit.voices, ({ name }) => Number(answer === 'all' || name === answer))
}

/** Velocities of taps; those that are all the same are not a player's, and are not known. */
export function toldVelocities(isTap: Uint8Array, velocity: ArrayLike<number>): Float64Array {
  const told = [...isTap.keys()].filter((step) => isTap[step]).map((step) => velocity[step])
  const isTold = told.some((value) => value !== told[0])
  return Float64Array.from(isTap, (tap, step) => (tap && isTold ? velocity[step] : NaN))
}

/**
 * The locks of a rhythm: some voice of a set at each tap, and none of those that answer between taps if so asked.
 *
 * @param steps that it is of; a shorter rhythm begins again
 * @param known (steps or more, voices), cells that stay as they are, with their values; a tap at which they silence all
 * of its set has no answer
 */
export function lockTaps(
  { isTap, velocity }: Rhythm, steps: number, known: Uint8Array, values: Uint8Array, answer: Uint8Array, loud: Uint8Array, between: Between,
): { known: Uint8Array; some: Uint8Array } {
  const voices = answer.length
  const locks = { known: known.slice(), some: new Uint8Array(known.length) }
  const hasLoud = answer.some((own, v) => own && loud[v])
  for (let step = 0; step < steps; step++) {
    const tap = step % isTap.length
    if (!isTap[tap]) {
      if (between === 'silent') answer.forEach((own, v) => { if (own) locks.known[step * voices + v] = 1 })
      continue
    }
    const isAccent = hasLoud && velocity[tap] >= DEFAULTS.accent
    const set = answer.map((own, v) => own & (isAccent ? loud[v] : 1))
    if (set.some((own, v) => own && (!known[step * voices + v] || values[step * voices + v]))) locks.some.set(set, step * voices)
  }
  return locks
}
