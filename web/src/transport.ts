/** Playing in time: hits are handed to the audio clock a little before they sound. */

import type { Mixer } from './audio'

/** Seconds that are scheduled ahead; more where the page is hidden, as timers are then held back. */
const AHEAD_S = 0.18
const HIDDEN_AHEAD_S = 1.6
/** Milliseconds between looks. */
const LOOK_MS = 30
/** Seconds between pressing play and the first step. */
const START_S = 0.06

/** What is to be played. */
export interface Score {
  /** Steps there are now; it may grow while it plays. */
  steps(): number
  /** Of the loop, in steps; null plays to the end. */
  loop(): [number, number] | null
  secondsPerStep(): number
  /** Voice, velocity and time in steps from the line of the step. @param pass times that the loop began anew */
  hitsAt(step: number, pass: number): { voice: number; velocity: number; late: number; openness: number }[]
  /** Whether there is more to come: the transport then waits for it, and does not end. */
  isGrowing(): boolean
}

export class Transport {
  private timer: ReturnType<typeof setInterval> | null = null
  private step = 0
  private time = 0
  private pass = 0
  private line: { step: number; time: number }[] = []
  /** Times at which there was nothing to play though it was time. */
  gaps = 0

  constructor(
    private readonly context: AudioContext, private readonly mixer: Pick<Mixer, 'hit' | 'silence'>, private readonly score: Score,
    private readonly onEnd: () => void,
  ) {}

  get isPlaying(): boolean {
    return this.timer !== null
  }

  start(step: number): void {
    this.stop()
    this.step = step
    this.pass = 0
    this.time = this.context.currentTime + START_S
    this.line = []
    this.gaps = 0
    this.look()
    this.timer = setInterval(() => this.look(), LOOK_MS)
  }

  stop(): void {
    if (this.timer === null) return
    clearInterval(this.timer)
    this.timer = null
    this.mixer.silence()
  }

  /** The step that sounds now, or -1. */
  now(): number {
    if (this.timer === null) return -1
    const heard = this.context.currentTime - (this.context.outputLatency || 0)
    let found = -1
    for (const { step, time } of this.line) if (time <= heard) found = step
    while (this.line.length > 1 && this.line[1].time <= heard) this.line.shift()
    return found
  }

  /** The score lost so many steps at its start. */
  dropped(steps: number): void {
    this.step = Math.max(0, this.step - steps)
    this.line = this.line.map(({ step, time }) => ({ step: step - steps, time }))
  }

  private look(): void {
    const until = this.context.currentTime + (document.hidden ? HIDDEN_AHEAD_S : AHEAD_S)
    while (this.time < until) {
      const loop = this.score.loop()
      if (loop && (this.step >= loop[1] || this.step < loop[0])) {
        this.step = loop[0]
        this.pass++
      }
      if (this.step >= this.score.steps()) {
        if (this.score.isGrowing()) {
          this.gaps++
          this.time = Math.max(this.time, this.context.currentTime + START_S)
          return
        }
        if (this.context.currentTime > this.time + 0.3) {
          this.stop()
          this.onEnd()
        }
        return
      }
      const length = this.score.secondsPerStep()
      const isPast = this.time < this.context.currentTime // after a stall: all at once they would be a bang
      for (const { voice, velocity, late, openness } of isPast ? [] : this.score.hitsAt(this.step, this.pass)) {
        this.mixer.hit(voice, velocity, Math.max(this.time + late * length, this.context.currentTime), openness)
      }
      this.line.push({ step: this.step, time: this.time })
      this.time += length
      this.step++
    }
  }
}
