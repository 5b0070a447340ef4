/** Kits of sounds, made from that of drums.json: tuned, damped, or with layers of their own. */

import type { Drums, Layer, Sound } from './kit'
import type { KitName } from './settings'

/** What makes a kit of the plain one. */
interface Change {
  /** Factors of frequencies and decays, and of how loud the room is. */
  tune: number
  decay: number
  room: number
  /** Layers in place of those of a sound. */
  layers?: Record<string, Layer[]>
}

const PLAIN = { attack_s: 0.0005, touch: 1.3, filters: [] }
const SQUARES = [205.3, 304.4, 369.6, 522.7, 540, 800]
const highpass = (hz: number) => ({ type: 'highpass' as const, hz, q: 0.707 })
const tone = (start_hz: number, end_hz: number, sweep_s: number, decay_s: number, gain: number): Layer => (
  { ...PLAIN, source: 'sine', start_hz, end_hz, sweep_s, decay_s, gain }
)
const hiss = (seed: number, hz: number, decay_s: number, gain: number): Layer => ({ ...PLAIN, source: 'noise', seed, filters: [highpass(hz)], decay_s, gain })
const metal = (decay_s: number, gain: number): Layer[] => [
  { ...PLAIN, source: 'metal', frequencies_hz: SQUARES, filters: [highpass(7000), highpass(6000)], decay_s, gain },
]

const CHANGES: Record<Exclude<KitName, ''>, Change> = {
  tight: { tune: 1, decay: 0.5, room: 0.35 },
  deep: { tune: 0.8, decay: 1.25, room: 1 },
  machine: {
    tune: 1, decay: 0.8, room: 0,
    layers: {
      kick: [tone(150, 49, 0.012, 0.32, 0.75), tone(900, 300, 0.004, 0.008, 0.2)],
      snare: [tone(190, 178, 0.02, 0.09, 0.4), tone(340, 330, 0.02, 0.05, 0.25), hiss(3, 1800, 0.1, 0.5)],
      closed_hat: metal(0.035, 0.75),
      pedal_hat: metal(0.025, 0.55),
      open_hat: metal(0.25, 0.65),
      low_tom: [tone(110, 82, 0.05, 0.26, 0.7)],
      mid_tom: [tone(150, 112, 0.05, 0.24, 0.7)],
      high_tom: [tone(205, 152, 0.05, 0.22, 0.7)],
    },
  },
}

/** The sounds of a kit. */
export function drumsOf(drums: Drums, name: KitName): Drums {
  if (!name) return drums
  const { tune, decay, room, layers = {} } = CHANGES[name]
  const changed = (layer: Layer): Layer => ({
    ...layer, decay_s: layer.decay_s * decay, filters: layer.filters.map((filter) => ({ ...filter, hz: filter.hz * tune })),
    ...(layer.start_hz ? { start_hz: layer.start_hz * tune, end_hz: layer.end_hz! * tune } : {}),
    ...(layer.frequencies_hz ? { frequencies_hz: layer.frequencies_hz.map((hz) => hz * tune) } : {}),
  })
  const soundOf = (voice: string, sound: Sound): Sound => ({ ...sound, layers: layers[voice] ?? sound.layers?.map(changed) })
  return {
    ...drums, room: { ...drums.room, gain: drums.room.gain * room },
    voices: Object.fromEntries(Object.entries(drums.voices).map(([voice, sound]) => [voice, soundOf(voice, sound)])),
  }
}

/** What menus call the kits. */
export const KIT_TITLES: Record<KitName, string> = { '': 'Studio', tight: 'Tight', deep: 'Deep', machine: 'Machine' }
