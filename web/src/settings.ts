/** What is set on the page beside the song: of the model, of the mixer, of the view. */

import { DEFAULTS } from './bounds'

export type Mode = 'write' | 'lock' | 'loud' | 'strokes'

export interface Settings {
  style: number
  section: number
  temperature: number
  guidance: number
  seed: number
  /** To continue by. */
  bars: number
  /** How many takes are drawn at once. */
  takes: number
  /** Of a variation, in [0, 1]. */
  strength: number
  endless: boolean
  loop: boolean
  mode: Mode
}

export const FIRST_SETTINGS: Settings = {
  style: 0, section: 0, temperature: DEFAULTS.temperature, guidance: DEFAULTS.guidance, seed: DEFAULTS.seed,
  bars: 4, takes: 1, strength: 0.3, endless: false, loop: false, mode: 'write',
}

/** What the model is at. */
export interface Busy {
  label: string
  /** In [0, 1], or null where it cannot be told. */
  share: number | null
  stop: AbortController
}

/** Of each voice. */
export interface Mixer {
  /** 1 as it is, 0 silence. */
  volumes: number[]
  muted: boolean[]
}

export const LOUDEST_VOLUME = 1.25

export function plainMixer(voices: number): Mixer {
  return { volumes: new Array(voices).fill(1), muted: new Array(voices).fill(false) }
}

export function isPlain({ volumes, muted }: Mixer): boolean {
  return volumes.every((volume) => volume === 1) && !muted.includes(true)
}

/** Seconds in words. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(milliseconds < 9950 ? 2 : 0)} s`
}
