/** The synthesised kit: the voices of drums.json as samples, the same as `hypermeter.sound` makes. */

import { whiteNoise } from './noise'

export interface Filter {
  type: 'lowpass' | 'highpass' | 'bandpass'
  hz: number
  q: number
}

export interface Layer {
  source: 'sine' | 'triangle' | 'noise' | 'metal'
  start_hz?: number
  end_hz?: number
  sweep_s?: number
  seed?: number
  frequencies_hz?: number[]
  filters: Filter[]
  gain: number
  attack_s: number
  decay_s: number
  touch: number
  drive?: number
  start_s?: number
}

export interface Sound {
  pan?: number
  /** Sounds of a group silence each other. */
  group?: string
  same_as?: string
  layers?: Layer[]
  check?: { length: number; peak: number; rms: number; samples: Record<string, number> }
}

export interface Drums {
  format: number
  sample_rate_hz: number
  choke_s: number
  room: { seeds: number[]; delay_s: number; decay_s: number; gain: number; filters: Filter[] }
  limiter_threshold: number
  level: number
  pitches: Record<string, string>
  voices: Record<string, Sound>
}

/** A layer ends this many times its decay after its attack, at -69 dB. */
const DECAYS = 8
/** Likewise, of the room. */
const ROOM_DECAYS = 7

/** The sound of a voice of any kit: by its name, else by the pitch that it writes, else the default. */
export function soundName(drums: Drums, name: string, pitch: number): string {
  const found = name in drums.voices ? name : drums.pitches[String(pitch)] ?? 'default'
  return drums.voices[found].same_as ?? found
}

/** A voice: its layers at full velocity; a softer hit has each of them softer, the bright ones more so. */
export class Samples {
  readonly layers: Float64Array[]
  readonly touch: number[]
  readonly length: number

  constructor(sound: Sound, rate: number) {
    const layers = sound.layers ?? []
    this.layers = layers.map((layer) => layerSamples(layer, rate))
    this.touch = layers.map((layer) => layer.touch)
    this.length = Math.max(0, ...this.layers.map((layer) => layer.length))
  }

  /** One hit, mono. @param velocity in [0, 1] */
  at(velocity: number): Float32Array {
    const mixed = new Float64Array(this.length)
    this.layers.forEach((layer, i) => {
      const gain = velocity ** this.touch[i]
      for (let n = 0; n < layer.length; n++) mixed[n] += gain * layer[n]
    })
    return Float32Array.from(mixed)
  }
}

/** A layer at full velocity: silence of `start_s`, then source, filters, envelope, drive and gain. */
export function layerSamples(layer: Layer, rate: number): Float64Array {
  const { attack_s, decay_s, drive = 0, start_s = 0, gain } = layer
  const count = Math.ceil((attack_s + DECAYS * decay_s) * rate)
  const signal = source(layer, count, rate)
  for (const shape of layer.filters) filter(signal, shape, rate)
  const start = roundHalfEven(start_s * rate)
  const samples = new Float64Array(start + count)
  const fall = Math.exp(-1 / rate / decay_s)
  const driven = drive ? Math.tanh(drive) : 1
  for (let n = 0, envelope = 1; n < count; n++, envelope *= fall) {
    let x = signal[n] * envelope * Math.min(n / rate / attack_s, 1)
    if (drive) x = Math.tanh(drive * x) / driven
    samples[start + n] = gain * x
  }
  return samples
}

function source(layer: Layer, count: number, rate: number): Float64Array {
  if (layer.source === 'noise') return whiteNoise(layer.seed!, count)
  const signal = new Float64Array(count)
  if (layer.source === 'metal') {
    const frequencies = layer.frequencies_hz!
    for (const hz of frequencies) {
      for (let n = 0; n < count; n++) signal[n] += ((hz * n) / rate) % 1 < 0.5 ? 1 : -1
    }
    for (let n = 0; n < count; n++) signal[n] /= frequencies.length
    return signal
  }
  const { start_hz, end_hz, sweep_s } = layer as Required<Layer>
  const isSine = layer.source === 'sine'
  for (let n = 0; n < count; n++) {
    const t = n / rate
    const cycles = end_hz * t + (start_hz - end_hz) * sweep_s * (1 - Math.exp(-t / sweep_s)) // the integral of the frequency
    signal[n] = isSine ? Math.sin(2 * Math.PI * cycles) : 1 - 4 * Math.abs(((cycles + 0.25) % 1) - 0.5)
  }
  return signal
}

/** A biquad of Robert Bristow-Johnson's cookbook, transposed direct form II, in place. */
function filter(signal: Float64Array, { type, hz, q }: Filter, rate: number): void {
  const w = (2 * Math.PI * hz) / rate
  const cos = Math.cos(w)
  const alpha = Math.sin(w) / (2 * q)
  const b = type === 'lowpass' ? [(1 - cos) / 2, 1 - cos, (1 - cos) / 2]
    : type === 'highpass' ? [(1 + cos) / 2, -(1 + cos), (1 + cos) / 2]
      : [alpha, 0, -alpha]
  const a0 = 1 + alpha
  const [b0, b1, b2, a1, a2] = [b[0] / a0, b[1] / a0, b[2] / a0, (-2 * cos) / a0, (1 - alpha) / a0]
  for (let n = 0, s1 = 0, s2 = 0; n < signal.length; n++) {
    const x = signal[n]
    const y = b0 * x + s1
    s1 = b1 * x - a1 * y + s2
    s2 = b2 * x - a2 * y
    signal[n] = y
  }
}

/** What is heard of one sample in the room, left and right, after the sound itself. */
export function roomResponse({ room }: Drums, rate: number): Float32Array[] {
  const count = roundHalfEven(ROOM_DECAYS * room.decay_s * rate)
  const wait = roundHalfEven(room.delay_s * rate)
  return room.seeds.map((seed) => {
    const signal = whiteNoise(seed, count)
    for (const shape of room.filters) filter(signal, shape, rate)
    const response = new Float32Array(wait + count)
    for (let n = 0; n < count; n++) response[wait + n] = room.gain * signal[n] * Math.exp(-n / (room.decay_s * rate))
    return response
  })
}

/** Samples past the threshold are bent towards 1, the others stay as they are. */
export function limited(x: number, threshold: number): number {
  const size = Math.abs(x)
  if (size <= threshold) return x
  const above = 1 - threshold
  return Math.sign(x) * (threshold + above * Math.tanh((size - threshold) / above))
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}
