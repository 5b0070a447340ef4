/** What is heard: the app's song through the mixer, in time. */

import type { App } from './app'
import { Kit, Mixer, type Routing } from './audio'
import { stepMs, stepsPerQuarter } from './grids'
import type { Drums } from './kit'
import { FollowedTransport } from './live/followed'
import { PAGE_CLOCK, SoundTime } from './live/time'
import { barsPlayed, falls, performed, strokesAt } from './performing'
import { rendered, type Score as Rendering, type TimedHit } from './rendering'
import { decoded, type SampleStore } from './samples'
import { isHeard, type KitName, type OwnSample } from './settings'
import { drumsOf } from './sounds'
import { type Clock, type Instrument, type Near, type Score, Transport } from './transport'

/** Seconds of sound after the last step of a file. */
const TAIL_S = 2

/** Milliseconds that a machine has to begin to sound, and between looks. */
const PATIENCE_MS = 2500
const LOOK_MS = 10

/** Whether the clock of the sound goes: without an output device some browsers wait for one without end. */
async function isRunning(context: AudioContext): Promise<boolean> {
  const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  const end = performance.now() + PATIENCE_MS
  if (context.state !== 'running') await Promise.race([context.resume(), pause(PATIENCE_MS)])
  if (context.state !== 'running') return false
  while (context.currentTime === 0 && performance.now() < end) await pause(LOOK_MS)
  return context.currentTime > 0
}

/** Browsers let a page sound only once it was clicked, or a key was pressed. */
const wasTouched = () => navigator.userActivation?.hasBeenActive ?? true

function whenTouched(action: () => void): void {
  if (wasTouched()) action()
  else for (const kind of ['pointerup', 'keydown']) addEventListener(kind, action, { once: true })
}

export class Sound {
  private readonly kits = new Map<KitName, Kit>()
  /** Sounds of one's own by their id; null where there is none any more. */
  private readonly own = new Map<string, AudioBuffer | null>()
  private context: AudioContext | null = null
  private mixer: Mixer | null = null
  /** The kit of the mixer. */
  private mixed: Kit | null = null
  private transport: Transport | null = null
  /** What plays in place of the song's hits, but not in files. */
  instead: Score['hitsAt'] | null = null
  /** Plays by a MIDI clock in place of the transport. */
  private followed: FollowedTransport | null = null
  /** Play beside the mixer, as a MIDI output does. */
  readonly others: Instrument[] = []
  /** Whether one of them is heard though there is no sound. */
  isHeardElsewhere: () => boolean = () => false
  time = new SoundTime(PAGE_CLOCK)
  private readonly band: Instrument = {
    hit: (...hit) => { for (const each of this.all) each.hit(...hit) },
    step: (...step) => { for (const each of this.all) each.step?.(...step) },
    settle: (until) => { for (const each of this.all) each.settle?.(until) },
    silence: () => { for (const each of this.all) each.silence() },
  }
  private readonly playing: Score = {
    steps: () => this.bars.length * this.app.song.stepsPerBar,
    loop: () => this.loop(),
    secondsPerStep: () => this.secondsPerStep,
    hitsAt: (step, pass) => (this.instead ?? this.hitsAt.bind(this))(step, pass),
    isGrowing: () => this.app.settings.endless,
  }

  constructor(
    private readonly app: App, private readonly drums: Drums, private readonly onEnd: () => void, private readonly samples: SampleStore,
  ) {}

  get kit(): Kit {
    const name = this.app.mixer.kit
    let found = this.kits.get(name)
    if (!found) this.kits.set(name, (found = new Kit(drumsOf(this.drums, name), this.app.meta.kit.voices)))
    return found
  }

  /** Makes sounds that are likely to be needed, a little at a time. */
  async warm(): Promise<void> {
    for (let voice = 0; voice < this.app.song.voices; voice++) {
      await new Promise((resolve) => setTimeout(resolve, 0))
      this.kit.samplesOf(voice)
    }
  }

  private get all(): Instrument[] {
    return this.mixer ? [...this.others, this.mixer] : this.others
  }

  private get player(): Transport | FollowedTransport | null {
    return this.followed ?? this.transport
  }

  get isPlaying(): boolean {
    return this.player?.isPlaying ?? false
  }

  /** The step of the song that sounds now, or -1. */
  get step(): number {
    const place = this.player?.now() ?? -1
    return place < 0 ? -1 : this.stepAt(place)
  }

  /** The step of the song at a place of the playing. */
  private stepAt(place: number): number {
    const size = this.app.song.stepsPerBar
    return (this.bars[Math.floor(place / size)] ?? 0) * size + (place % size)
  }

  /** The bars that are played: a loop of selected ones is one of the song, whatever the order. */
  private get bars(): number[] {
    return barsPlayed(this.app.song, { ...this.app.settings, ordered: this.app.settings.ordered && !this.isLooped })
  }

  private get isLooped(): boolean {
    return this.app.settings.loop && this.app.hasSelection
  }

  /** Times at which endless play had nothing ready. */
  get gaps(): number {
    return this.player?.gaps ?? 0
  }

  /** @param countIn steps before it @returns whether it plays, or waits for the clock that it follows */
  async play(step: number, countIn = 0): Promise<boolean> {
    const isOpen = (await this.open()) || this.openElsewhere()
    const size = this.app.song.stepsPerBar
    if (isOpen && this.followed) {
      this.followed.start()
      if (!this.isPlaying) this.app.say('Waits for the clock that is followed: press start there')
    } else if (isOpen) this.transport!.start(Math.max(0, this.bars.indexOf(Math.floor(step / size))) * size, countIn)
    return isOpen
  }

  stop(): void {
    this.player?.stop()
  }

  /** The song lost so many steps at its start. */
  dropped(steps: number): void {
    this.player?.dropped(steps)
  }

  /** The steps that sounded, or will, around a time of the page in milliseconds. */
  near(milliseconds: number): Near[] {
    const near = this.player?.near(this.time.toClock(milliseconds)) ?? []
    return near.map(({ step, late }) => ({ step: this.stepAt(step), late }))
  }

  /** Brings what the page plays, and its clock, forward or back. */
  nudge(seconds: number): void {
    this.transport?.nudge(seconds)
  }

  /** Plays by a MIDI clock, or no longer. @param lateMs by which all is later than the clock */
  follow(isFollowing: boolean, lateMs: () => number = () => 0): FollowedTransport | null {
    this.stop()
    this.followed?.close()
    this.followed = null
    if (isFollowing) {
      const { tempo, grid } = this.app.song
      this.followed = new FollowedTransport(tempo, stepsPerQuarter(grid), this.playing, this.band, () => this.time, lateMs, () => this.app.changed())
      whenTouched(() => void this.open())
    }
    return this.followed
  }

  /** Where nothing plays. */
  async audition(voice: number, velocity: number): Promise<void> {
    if (this.isPlaying || !isHeard(this.app.mixer, voice) || !((await this.open()) || this.openElsewhere())) return
    const { currentTime } = this.time.clock
    this.band.hit(voice, velocity, currentTime, NaN)
    this.band.settle!(currentTime)
  }

  /** At once, whatever plays, by the mixer alone. */
  async strike(voice: number, velocity: number, openness: number): Promise<void> {
    const canOpen = this.mixer || (!this.isPlaying && wasTouched())
    if (canOpen && (await this.open())) this.mixer!.hit(voice, velocity, this.context!.currentTime, openness)
  }

  /** The context of the sound, which other sounds join; null where there is none yet. */
  get output(): AudioContext | null {
    return this.context
  }

  /** Takes what the app's mixer says: how loud and where each voice is, and its sound. */
  setMixer(): void {
    if (this.context && this.mixed !== this.kit) this.connectMixer(this.context)
    this.mixer?.route(this.routing)
    void this.loadSamples()
  }

  /** Reads sounds of one's own that the mixer has. */
  async loadSamples(): Promise<void> {
    const missing = this.app.mixer.samples.filter((sample): sample is OwnSample => !!sample && !this.own.has(sample.id))
    if (!missing.length) return
    for (const { id, name } of missing) {
      this.own.set(id, null)
      try {
        const bytes = await this.samples.get(id)
        if (bytes) this.own.set(id, await decoded(bytes, name, this.kit.rate))
        else this.app.say(`The sound ${name} is not kept any more: its voice has the kit's`)
      } catch (error) {
        this.app.say((error as Error).message)
      }
    }
    this.mixer?.route(this.routing)
  }

  /** A sound of one's own is there, before it is kept. */
  give(id: string, buffer: AudioBuffer): void {
    this.own.set(id, buffer)
  }

  get routing(): Routing {
    const { mixer } = this.app
    return {
      volumes: mixer.volumes.map((volume, voice) => (isHeard(mixer, voice) ? volume : 0)), pans: mixer.pans,
      own: mixer.samples.map((sample) => (sample ? this.own.get(sample.id) ?? null : null)),
    }
  }

  setMaster(): void {
    this.mixer?.setMaster(this.app.volume)
  }

  /** @returns whether the machine lets it sound; says so where it does not */
  private async open(): Promise<boolean> {
    try {
      const context = (this.context ??= this.connect())
      if (!(await isRunning(context))) throw new Error('its clock stands still')
      return true
    } catch (error) {
      void this.context?.close().catch(() => undefined) // the next press tries anew
      this.context = this.mixer = this.transport = this.mixed = null
      this.time = new SoundTime(PAGE_CLOCK)
      if (this.isHeardElsewhere()) return false
      this.app.say(`No sound: this machine has no audio output that the page can use (${(error as Error).message}); MIDI and WAV files are saved all the same`)
      return false
    }
  }

  private connect(): AudioContext {
    const context = new AudioContext({ sampleRate: this.kit.rate, latencyHint: 'interactive' })
    this.connectMixer(context)
    this.time = new SoundTime(context)
    this.transport = this.transportBy(context)
    return context
  }

  private connectMixer(context: AudioContext): void {
    this.mixer?.close()
    this.mixed = this.kit
    this.mixer = new Mixer(context, this.kit, this.routing)
    this.setMaster()
  }

  private transportBy(clock: Clock): Transport {
    return new Transport(clock, this.band, this.playing, this.onEnd)
  }

  /** Without sound: by the clock of the page, for a MIDI output. */
  private openElsewhere(): boolean {
    if (!this.isHeardElsewhere()) return false
    this.transport ??= this.transportBy(PAGE_CLOCK)
    return true
  }

  private loop(): [number, number] | null {
    const { settings, selection, song, bars } = this.app
    if (this.isLooped) return [selection[0] * song.stepsPerBar, Math.min(selection[1], bars) * song.stepsPerBar]
    return settings.endless ? null : [0, this.bars.length * song.stepsPerBar]
  }

  get secondsPerStep(): number {
    return stepMs(this.app.song.grid, this.app.song.tempo) / 1000
  }

  private hitsAt(place: number, pass: number) {
    const { song, mixer } = this.app
    return strokesAt(song, this.stepAt(place)).filter(({ voice, cell }) => isHeard(mixer, voice) && falls(song, cell, place, pass))
  }

  /** What is to be rendered of bars, those that are played if none are told. @param tailS seconds after the last step; null for a loop */
  score(bars = this.bars, tailS: number | null = TAIL_S): Rendering {
    const { song, mixer } = this.app
    const { rate } = this.kit
    const played = performed(song, mixer, bars)
    const steps = bars.length * song.stepsPerBar
    const hits: TimedHit[] = []
    for (let step = 0; step < steps; step++) {
      for (const { voice, velocity, late, openness } of strokesAt(played, step)) {
        hits.push({ voice, velocity, openness, frame: Math.round((step + late) * this.secondsPerStep * rate) })
      }
    }
    return { hits, frames: Math.round((steps * this.secondsPerStep + (tailS ?? 0)) * rate), isLoop: tailS === null }
  }

  /** The song as samples of the left and the right. */
  async render(): Promise<Float32Array[]> {
    const score = this.score()
    const sides = [0, 1].map(() => new Float32Array(score.frames))
    let at = 0
    for await (const part of rendered(this.kit, score, this.routing)) {
      sides.forEach((side, number) => side.set(part[number], at))
      at += part[0].length
    }
    return sides
  }
}
