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
/** How much softer a soft hit is in a sound of one's own, as the layers of the kit's are on the average. */
const OWN_TOUCH = 1.5
/** Buffers of exact velocities that are kept while files are made. */
const MOST_EXACT = 64

/** A kit's sounds, made when first asked for. */
export class Kit {
  readonly names: string[]
  private readonly samples = new Map<string, Samples>()
  private readonly buffers = new Map<string, AudioBuffer>()
  private readonly exact = new Map<string, AudioBuffer>()
  private room: AudioBuffer | null = null

  constructor(readonly drums: Drums, voices: { name: string; write: number }[]) {
    this.names = voices.map(({ name, write }) => soundName(drums, name, write))
  }

  get rate(): number {
    return this.drums.sample_rate_hz
  }

  panOf(voice: number): number {
    return this.drums.voices[this.names[voice]].pan ?? 0
  }

  samplesOf(voice: number): Samples {
    const name = this.names[voice]
    let found = this.samples.get(name)
    if (!found) this.samples.set(name, (found = new Samples(this.drums.voices[name], this.rate)))
    return found
  }

  /** Frames of a hit of a voice, of its own sound or the kit's. */
  framesOf(voice: number, own?: AudioBuffer | null): number {
    return own?.length ?? this.samplesOf(voice).length
  }

  /** @param exact not rounded to a level, and kept for a while only */
  buffer(voice: number, velocity: number, exact = false): AudioBuffer {
    const level = exact ? velocity : Math.max(1, Math.round(velocity * LEVELS)) / LEVELS
    const kept = exact ? this.exact : this.buffers
    const key = `${this.names[voice]} ${level}`
    let found = kept.get(key)
    if (!found) {
      const samples = this.samplesOf(voice).at(level)
      found = new AudioBuffer({ length: Math.max(1, samples.length), sampleRate: this.rate })
      found.copyToChannel(samples as Float32Array<ArrayBuffer>, 0)
      if (exact && kept.size >= MOST_EXACT) kept.delete(kept.keys().next().value!)
      kept.set(key, found)
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

/** How voices go to the output. */
export interface Routing {
  /** Of each voice: 0 is silence, 1 as it is. */
  volumes?: number[]
  /** Of each voice; null as the kit has it. */
  pans?: (number | null)[]
  /** Sounds of one's own. */
  own?: (AudioBuffer | null)[]
  /** For files: velocities as they are, and gains at once. */
  isExact?: boolean
  /** Without the limiter, so that voices by themselves add up to all of them. */
  isOpen?: boolean
}

/** The way from hits to the output. */
export class Mixer {
  private readonly strips: { gain: GainNode; pan: StereoPannerNode }[]
  private readonly exact: boolean
  private own: (AudioBuffer | null)[] = []
  private readonly groups = new Map<string, Sounding[]>()
  private readonly master: GainNode
  private readonly live = new Set<AudioBufferSourceNode>()

  constructor(private readonly context: BaseAudioContext, private readonly kit: Kit, routing: Routing = {}) {
    const { drums } = kit
    this.exact = routing.isExact ?? false
    this.master = new GainNode(context, { gain: routing.isOpen ? drums.level : drums.level / LOUDEST })
    const curve = Float32Array.from({ length: 16385 }, (_, i) => limited((i / 8192 - 1) * LOUDEST, drums.limiter_threshold))
    const limiter = routing.isOpen ? this.master : this.master.connect(new WaveShaperNode(context, { curve }))
    limiter.connect(context.destination)
    const dry = new GainNode(context)
    dry.connect(this.master)
    const mono = new GainNode(context, { channelCount: 1, channelCountMode: 'explicit', channelInterpretation: 'speakers' })
    const room = new ConvolverNode(context, { disableNormalization: true, buffer: kit.roomBuffer() })
    dry.connect(mono).connect(room).connect(this.master)
    this.strips = kit.names.map((name) => {
      const gain = new GainNode(context)
      const pan = new StereoPannerNode(context, { pan: drums.voices[name].pan ?? 0 })
      gain.connect(pan).connect(dry)
      return { gain, pan }
    })
    this.route(routing)
  }

  route({ volumes, pans, own }: Routing): void {
    volumes?.forEach((volume, voice) => this.setVolume(voice, volume))
    pans?.forEach((pan, voice) => { this.strips[voice].pan.pan.value = pan ?? this.kit.panOf(voice) })
    if (own) this.own = own
  }

  /** Takes it off the output, where another one takes its place. */
  close(): void {
    this.silence()
    this.master.disconnect()
  }

  /** @param gain 0 is silence, 1 as it is */
  setVolume(voice: number, gain: number): void {
    // A mono source panned to the middle is 3 dB softer on each side: the factor makes up for it.
    const { gain: strip } = this.strips[voice]
    if (this.exact) strip.gain.value = gain * Math.SQRT2
    else strip.gain.setTargetAtTime(gain * Math.SQRT2, this.context.currentTime, 0.01)
  }

  setMaster(gain: number): void {
    this.master.gain.setTargetAtTime((gain * this.kit.drums.level) / LOUDEST, this.context.currentTime, 0.01)
  }

  /** A hit at a time of the context, which is rounded to a sample. */
  hit(voice: number, velocity: number, at: number, openness = NaN): void {
    const time = Math.round(at * this.kit.rate) / this.kit.rate
    const own = this.own[voice]
    const source = new AudioBufferSourceNode(this.context, { buffer: own ?? this.kit.buffer(voice, velocity, this.exact) })
    const gain = new GainNode(this.context, { gain: own ? velocity ** OWN_TOUCH : 1 })
    source.connect(gain).connect(this.strips[voice].gain)
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
