/** Playing in time: hits are handed to the audio clock a little before they sound. */

/** Seconds that are scheduled ahead; more where the page is hidden, as timers are then held back. */
const AHEAD_S = 0.18
const HIDDEN_AHEAD_S = 1.6
/** Milliseconds between looks. */
const LOOK_MS = 30
/** Seconds between pressing play and the first step. */
const START_S = 0.06
/** Steps that have sounded whose times are kept: what was played to them may come to be known a little later. */
const KEPT_STEPS = 64

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

/** The clock of the sound, in seconds. */
export interface Clock {
  readonly currentTime: number
  readonly outputLatency?: number
}

/** What plays the score, at times of the clock. */
export interface Instrument {
  hit(voice: number, velocity: number, at: number, openness: number): void
  /** A step of the song begins, whose hits follow, or one that is counted in, from -1 down; its length is in seconds. */
  step?(step: number, at: number, length: number): void
  /** Nothing more begins before that time. */
  settle?(until: number): void
  /** No sound from now on, and nothing of what was to come. */
  silence(): void
}

/** A step, and how late after it something is, in steps. */
export interface Near {
  step: number
  late: number
}

export class Transport {
  private timer: ReturnType<typeof setInterval> | null = null
  private step = 0
  /** Steps that are still to be counted in. */
  private toCount = 0
  private time = 0
  private pass = 0
  private line: { step: number; time: number }[] = []
  /** Times at which there was nothing to play though it was time. */
  gaps = 0

  constructor(
    private readonly context: Clock, private readonly mixer: Instrument, private readonly score: Score,
    private readonly onEnd: () => void,
  ) {}

  get isPlaying(): boolean {
    return this.timer !== null
  }

  /** @param countIn steps before it, in which nothing of the score sounds */
  start(step: number, countIn = 0): void {
    this.stop()
    this.step = step
    this.toCount = countIn
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
    for (const { step, time } of this.line) if (time <= heard) found = Math.max(step, -1)
    while (this.line.length > KEPT_STEPS && this.line[KEPT_STEPS].time <= heard) this.line.shift()
    return found
  }

  /** The steps around a time of the clock. */
  near(time: number): Near[] {
    const length = this.score.secondsPerStep()
    const all = this.line.map(({ step, time: begins }) => ({ step, late: (time - begins) / length }))
    return all.filter(({ step, late }) => step >= 0 && Math.abs(late) < 1)
  }

  /** Brings what is to come forward or back by so many seconds, by less than half a step. */
  nudge(seconds: number): void {
    const half = this.score.secondsPerStep() / 2
    this.time += Math.max(-half, Math.min(half, seconds))
  }

  /** The score lost so many steps at its start. */
  dropped(steps: number): void {
    this.step = Math.max(0, this.step - steps)
    this.line = this.line.map(({ step, time }) => ({ step: step - steps, time }))
  }

  private look(): void {
    const until = this.context.currentTime + (document.hidden ? HIDDEN_AHEAD_S : AHEAD_S)
    while (this.time < until) {
      if (this.toCount > 0) {
        this.begin(-this.toCount--)
        continue
      }
      const loop = this.score.loop()
      if (loop && (this.step >= loop[1] || this.step < loop[0])) {
        this.step = loop[0]
        this.pass++
      }
      if (this.step >= this.score.steps()) {
        this.mixer.settle?.(this.context.currentTime)
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
      this.begin(this.step++)
    }
  }

  /** Hands out a step; one that is counted in is below 0. */
  private begin(step: number): void {
    const { mixer, time, context } = this
    const length = this.score.secondsPerStep()
    mixer.step?.(step, time, length)
    const isPast = time < context.currentTime // after a stall: all at once they would be a bang
    for (const { voice, velocity, late, openness } of isPast || step < 0 ? [] : this.score.hitsAt(step, this.pass)) {
      mixer.hit(voice, velocity, Math.max(time + late * length, context.currentTime), openness)
    }
    mixer.settle?.(time + length / 2)
    this.line.push({ step, time })
    this.time += length
  }
}
