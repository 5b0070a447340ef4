/** Sound: the kit's samples, a mixer of one strip a voice, a room and a limiter, on any audio context. */

import { type Drums, limited, roomResponse, Samples, soundName } from './kit'

/** Levels of velocity of which the samples are kept while playing. */
const LEVELS = 32
/** A choked sound ends this many times `choke_s` after it is choked. */
const FADES = 8
/** Openness up to which a hi-hat is closed, and the seconds that it then rings, as in `hypermeter.share.sound.mix`. */
const OPEN_HAT = 'open_hat'
const CLOSED = 0.33
const CLOSED_RING_S = 0.06
/** The limiter hears samples up to this size. */
const LOUDEST = 4

/** A kit's sounds, made when first asked for. */
export class Kit {
  readonly names: string[]
  private readonly samples = new Map<string, Samples>()
  private readonly buffers = new Map<string, AudioBuffer>()
  private room: AudioBuffer | null = null

  constructor(readonly drums: Drums, voices: { name: string; write: number }[]) {
    this.names = voices.map(({ name, write }) => soundName(drums, name, write))
  }

  get rate(): number {
    return this.drums.sample_rate_hz
  }

  samplesOf(voice: number): Samples {
    const name = this.names[voice]
    let found = this.samples.get(name)
    if (!found) this.samples.set(name, (found = new Samples(this.drums.voices[name], this.rate)))
    return found
  }

  /** @param exact not rounded to a level, and not kept */
  buffer(voice: number, velocity: number, exact = false): AudioBuffer {
    const level = Math.max(1, Math.round(velocity * LEVELS))
    const key = `${this.names[voice]} ${level}`
    let found = exact ? undefined : this.buffers.get(key)
    if (!found) {
      const samples = this.samplesOf(voice).at(exact ? velocity : level / LEVELS)
      found = new AudioBuffer({ length: samples.length, sampleRate: this.rate })
      found.copyToChannel(samples as Float32Array<ArrayBuffer>, 0)
      if (!exact) this.buffers.set(key, found)
    }
    return found
  }

  roomBuffer(): AudioBuffer {
    if (!this.room) {
      const sides = roomResponse(this.drums, this.rate)
      this.room = new AudioBuffer({ length: sides[0].length, sampleRate: this.rate, numberOfChannels: 2 })
      sides.forEach((side, i) => this.room!.copyToChannel(side as Float32Array<ArrayBuffer>, i))
    }
    return this.room
  }
}

interface Sounding {
  time: number
  gain: GainNode
  source: AudioBufferSourceNode
}

/** The way from hits to the output. */
export class Mixer {
  private readonly strips: GainNode[]
  private readonly groups = new Map<string, Sounding[]>()
  private readonly master: GainNode
  private readonly live = new Set<AudioBufferSourceNode>()

  constructor(private readonly context: BaseAudioContext, private readonly kit: Kit, private readonly exact = false) {
    const { drums } = kit
    this.master = new GainNode(context, { gain: drums.level / LOUDEST })
    const curve = Float32Array.from({ length: 16385 }, (_, i) => limited((i / 8192 - 1) * LOUDEST, drums.limiter_threshold))
    this.master.connect(new WaveShaperNode(context, { curve })).connect(context.destination)
    const dry = new GainNode(context)
    dry.connect(this.master)
    const mono = new GainNode(context, { channelCount: 1, channelCountMode: 'explicit', channelInterpretation: 'speakers' })
    const room = new ConvolverNode(context, { disableNormalization: true, buffer: kit.roomBuffer() })
    dry.connect(mono).connect(room).connect(this.master)
    this.strips = kit.names.map((name) => {
      const strip = new GainNode(context)
      const pan = new StereoPannerNode(context, { pan: drums.voices[name].pan ?? 0 })
      strip.connect(pan).connect(dry)
      return strip
    })
  }

  /** @param gain 0 is silence, 1 as it is */
  setVolume(voice: number, gain: number): void {
    // A mono source panned to the middle is 3 dB softer on each side: the factor makes up for it.
    this.strips[voice].gain.setTargetAtTime(gain * Math.SQRT2, this.context.currentTime, 0.01)
    if (this.exact) this.strips[voice].gain.value = gain * Math.SQRT2
  }

  setMaster(gain: number): void {
    this.master.gain.setTargetAtTime((gain * this.kit.drums.level) / LOUDEST, this.context.currentTime, 0.01)
  }

  /** A hit at a time of the context, which is rounded to a sample. */
  hit(voice: number, velocity: number, at: number, openness = NaN): void {
    const time = Math.round(at * this.kit.rate) / this.kit.rate
    const source = new AudioBufferSourceNode(this.context, { buffer: this.kit.buffer(voice, velocity, this.exact) })
    const gain = new GainNode(this.context)
    source.connect(gain).connect(this.strips[voice])
    if (this.kit.names[voice] === OPEN_HAT && openness < 1) { // it fades at once where the pedal is down
      const share = Math.min(Math.max((openness - CLOSED) / (1 - CLOSED), 0), 1)
      gain.gain.setTargetAtTime(0, time, CLOSED_RING_S / (1 - share))
    }
    source.start(time)
    this.live.add(source)
    source.onended = () => {
      this.live.delete(source)
      gain.disconnect()
    }
    const group = this.kit.drums.voices[this.kit.names[voice]].group
    if (group) this.choke(group, { time, gain, source })
  }

  /** Silence now, and nothing of what was to come. */
  silence(): void {
    for (const source of this.live) source.stop()
    this.live.clear()
    this.groups.clear()
  }

  private choke(group: string, now: Sounding): void {
    const others = this.groups.get(group) ?? []
    const later = others.filter(({ time }) => time > now.time)
    for (const other of others) if (other.time < now.time) this.end(other, now.time)
    if (later.length) this.end(now, Math.min(...later.map(({ time }) => time)))
    this.groups.set(group, [...others.filter(({ time }) => time >= now.time), now])
  }

  private end({ gain, source }: Sounding, time: number): void {
    const { choke_s } = this.kit.drums
    gain.gain.setTargetAtTime(0, time, choke_s)
    source.stop(time + FADES * choke_s)
  }
}

/** Hits to be rendered: seconds from the start. */
export interface TimedHit {
  voice: number
  velocity: number
  time: number
  /** Of a hi-hat; NaN where it is not known, which sounds open. */
  openness: number
}

/** The hits through the mixer, as samples of the left and the right. */
export async function render(kit: Kit, hits: TimedHit[], seconds: number, volumes: number[]): Promise<Float32Array[]> {
  const context = new OfflineAudioContext(2, Math.max(1, Math.ceil(seconds * kit.rate)), kit.rate)
  const mixer = new Mixer(context, kit, true)
  volumes.forEach((volume, voice) => mixer.setVolume(voice, volume))
  for (const { voice, velocity, time, openness } of hits) mixer.hit(voice, velocity, time, openness)
  const found = await context.startRendering()
  return [found.getChannelData(0), found.getChannelData(1)]
}
