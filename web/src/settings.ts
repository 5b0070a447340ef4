/** What is set on the page beside the song: of the model, of the mixer, of the view. */

import { DEFAULTS } from './bounds'

/** What a click in the grid does, or a drag. */
export const MODES = ['write', 'lock', 'loud', 'timing', 'strokes', 'chance'] as const
export type Mode = (typeof MODES)[number]

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
  /** Whether the patterns are played in their order, in place of all bars. */
  ordered: boolean
  mode: Mode
}

export const FIRST_SETTINGS: Settings = {
  style: 0, section: 0, temperature: DEFAULTS.temperature, guidance: DEFAULTS.guidance, seed: DEFAULTS.seed,
  bars: 4, takes: 1, strength: 0.3, endless: false, loop: false, ordered: false, mode: 'write',
}

/** What the model is at. */
export interface Busy {
  label: string
  /** In [0, 1], or null where it cannot be told. */
  share: number | null
  stop: AbortController
}

/** A sound of one's own, by the name of its file; its bytes are kept by their hash. */
export interface OwnSample {
  id: string
  name: string
}

/** Of each voice; and which sounds they have. */
export interface Mixer {
  /** 1 as it is, 0 silence. */
  volumes: number[]
  muted: boolean[]
  /** Where any is, the others are silent. */
  soloed: boolean[]
  /** From -1, left, to 1, right; null as the kit has it. */
  pans: (number | null)[]
  kit: KitName
  samples: (OwnSample | null)[]
}

/** Kits of sounds, see sounds.ts; the first is that of the renderer of Python. */
export const KITS = ['', 'tight', 'deep', 'machine'] as const
export type KitName = (typeof KITS)[number]
export const isKit = (name: string): name is KitName => (KITS as readonly string[]).includes(name)

export const LOUDEST_VOLUME = 1.25

export function plainMixer(voices: number): Mixer {
  const each = <T>(value: T) => new Array<T>(voices).fill(value)
  return { volumes: each(1), muted: each(false), soloed: each(false), pans: each<number | null>(null), kit: '', samples: each<OwnSample | null>(null) }
}

/** A mixer as it was kept, by an earlier page perhaps, with what mixers have had since. */
export function completedMixer(kept: Mixer): Mixer {
  return { ...plainMixer(kept.volumes.length), ...kept }
}

/** Whether all voices are heard as loud as they are. */
export function isPlain({ volumes, muted }: Mixer): boolean {
  return volumes.every((volume) => volume === 1) && !muted.includes(true)
}

/** Whether a voice sounds, in playing as in files. */
export function isHeard({ muted, soloed }: Mixer, voice: number): boolean {
  return !muted[voice] && (soloed[voice] || !soloed.includes(true))
}

/** Seconds in words. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(milliseconds < 9950 ? 2 : 0)} s`
}
