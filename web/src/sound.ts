/** What is heard: the app's song through the mixer, in time. */

import type { App } from './app'
import { Kit, Mixer, render, type TimedHit } from './audio'
import { stepsPerQuarter } from './grids'
import type { Drums } from './kit'
import * as songs from './song'
import { Transport, type Score } from './transport'

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

export class Sound {
  readonly kit: Kit
  private context: AudioContext | null = null
  private mixer: Mixer | null = null
  private transport: Transport | null = null
  /** What plays in place of the song's hits, but not in files. */
  instead: Score['hitsAt'] | null = null

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

  get isPlaying(): boolean {
    return this.transport?.isPlaying ?? false
  }

  /** The step that sounds now, or -1. */
  get step(): number {
    return this.transport?.now() ?? -1
  }

  /** Where it sounds now, in steps with their fractions, or -1. */
  get place(): number {
    return this.transport?.place() ?? -1
  }

  /** Times at which endless play had nothing ready. */
  get gaps(): number {
    return this.transport?.gaps ?? 0
  }

  /** @returns whether it plays */
  async play(step: number): Promise<boolean> {
    const isOpen = await this.open()
    if (isOpen) this.transport!.start(step)
    return isOpen
  }

  stop(): void {
    this.transport?.stop()
  }

  /** The song lost so many steps at its start. */
  dropped(steps: number): void {
    this.transport?.dropped(steps)
  }

  async audition(voice: number, velocity: number): Promise<void> {
    if (this.isPlaying || this.app.mixer.muted[voice]) return
    if (await this.open()) this.mixer!.hit(voice, velocity, this.context!.currentTime)
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
      this.app.say(`No sound: this machine has no audio output that the page can use (${(error as Error).message}); MIDI and WAV files are saved all the same`)
      return false
    }
  }

  private connect(): AudioContext {
    const { app } = this
    const context = new AudioContext({ sampleRate: this.kit.rate, latencyHint: 'interactive' })
    this.mixer = new Mixer(context, this.kit)
    this.setVolumes()
    this.setMaster()
    this.transport = new Transport(context, this.mixer, {
      steps: () => songs.steps(app.song),
      loop: () => this.loop(),
      secondsPerStep: () => this.secondsPerStep,
      hitsAt: (step) => (this.instead ? this.instead(step) : this.hitsAt(step)),
      isGrowing: () => app.settings.endless,
    }, this.onEnd)
    return context
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
