/** What is heard: the app's song through the mixer, in time. */

import type { App } from './app'
import { Kit, Mixer, render, type TimedHit } from './audio'
import { stepsPerQuarter } from './grids'
import type { Drums } from './kit'
import { FollowedTransport } from './live/followed'
import { PAGE_CLOCK, SoundTime } from './live/time'
import * as songs from './song'
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
  readonly kit: Kit
  private context: AudioContext | null = null
  private mixer: Mixer | null = null
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
  private readonly score: Score = {
    steps: () => songs.steps(this.app.song),
    loop: () => this.loop(),
    secondsPerStep: () => this.secondsPerStep,
    hitsAt: (step) => (this.instead ? this.instead(step) : this.hitsAt(step)),
    isGrowing: () => this.app.settings.endless,
  }

  constructor(private readonly app: App, drums: Drums, private readonly onEnd: () => void) {
    this.kit = new Kit(drums, app.meta.kit.voices)
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

  /** The step that sounds now, or -1. */
  get step(): number {
    return this.player?.now() ?? -1
  }

  /** Times at which endless play had nothing ready. */
  get gaps(): number {
    return this.player?.gaps ?? 0
  }

  /** @param countIn steps before it @returns whether it plays, or waits for the clock that it follows */
  async play(step: number, countIn = 0): Promise<boolean> {
    const isOpen = (await this.open()) || this.openElsewhere()
    if (isOpen && this.followed) {
      this.followed.start()
      if (!this.isPlaying) this.app.say('Waits for the clock that is followed: press start there')
    } else if (isOpen) this.transport!.start(step, countIn)
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
    return this.player?.near(this.time.toClock(milliseconds)) ?? []
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
      this.followed = new FollowedTransport(tempo, stepsPerQuarter(grid), this.score, this.band, () => this.time, lateMs, () => this.app.changed())
      whenTouched(() => void this.open())
    }
    return this.followed
  }

  /** Where nothing plays. */
  async audition(voice: number, velocity: number): Promise<void> {
    if (this.isPlaying || this.app.mixer.muted[voice] || !((await this.open()) || this.openElsewhere())) return
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

  /** Each voice as loud as the app's mixer says. */
  setVolumes(): void {
    for (let voice = 0; voice < this.app.song.voices; voice++) this.mixer?.setVolume(voice, this.volumeOf(voice))
  }

  setMaster(): void {
    this.mixer?.setMaster(this.app.volume)
  }

  private volumeOf(voice: number): number {
    return this.app.mixer.muted[voice] ? 0 : this.app.mixer.volumes[voice]
  }

  /** @returns whether the machine lets it sound; says so where it does not */
  private async open(): Promise<boolean> {
    try {
      const context = (this.context ??= this.connect())
      if (!(await isRunning(context))) throw new Error('its clock stands still')
      return true
    } catch (error) {
      void this.context?.close().catch(() => undefined) // the next press tries anew
      this.context = this.mixer = this.transport = null
      this.time = new SoundTime(PAGE_CLOCK)
      if (this.isHeardElsewhere()) return false
      this.app.say(`No sound: this machine has no audio output that the page can use (${(error as Error).message}); MIDI and WAV files are saved all the same`)
      return false
    }
  }

  private connect(): AudioContext {
    const context = new AudioContext({ sampleRate: this.kit.rate, latencyHint: 'interactive' })
    this.mixer = new Mixer(context, this.kit)
    this.setVolumes()
    this.setMaster()
    this.time = new SoundTime(context)
    this.transport = this.transportBy(context)
    return context
  }

  private transportBy(clock: Clock): Transport {
    return new Transport(clock, this.band, this.score, this.onEnd)
  }

  /** Without sound: by the clock of the page, for a MIDI output. */
  private openElsewhere(): boolean {
    if (!this.isHeardElsewhere()) return false
    this.transport ??= this.transportBy(PAGE_CLOCK)
    return true
  }

  private loop(): [number, number] | null {
    const { settings, selection, song, bars } = this.app
    if (settings.loop && this.app.hasSelection) return [selection[0] * song.stepsPerBar, Math.min(selection[1], bars) * song.stepsPerBar]
    return settings.endless ? null : [0, songs.steps(song)]
  }

  get secondsPerStep(): number {
    const { tempo, grid } = this.app.song
    return 60 / tempo / stepsPerQuarter(grid)
  }

  private hitsAt(step: number): { voice: number; velocity: number; late: number; openness: number }[] {
    const { song } = this.app
    const found = []
    for (let voice = 0; voice < song.voices; voice++) {
      const cell = step * song.voices + voice
      if (!song.hits[cell]) continue
      found.push({ voice, velocity: song.velocity[cell], late: songs.placed(song, cell), openness: song.openness[cell] })
      for (const { offset, velocity, openness } of song.strokes.get(cell) ?? []) {
        found.push({ voice, velocity, late: songs.placed(song, cell, offset), openness: Number.isNaN(openness) ? song.openness[cell] : openness })
      }
    }
    return found
  }

  /** The song as samples of the left and the right, through the same mixer. */
  render(): Promise<Float32Array[]> {
    const { song } = this.app
    const hits: TimedHit[] = []
    for (let step = 0; step < songs.steps(song); step++) {
      for (const { voice, velocity, late, openness } of this.hitsAt(step)) {
        hits.push({ voice, velocity, openness, time: Math.max(0, (step + late) * this.secondsPerStep) })
      }
    }
    const volumes = this.app.mixer.volumes.map((_, voice) => this.volumeOf(voice))
    return render(this.kit, hits, songs.steps(song) * this.secondsPerStep + TAIL_S, volumes)
  }
}
