/** The rules by which a MIDI clock is followed: those of `hypermeter play`, from `hypermeter.share.live.position` and `engine`. */

import { CLOCK, CONTINUE, SONG_POSITION, START, STOP, TICKS_PER_QUARTER, TICKS_PER_SONG_POSITION } from './messages'

/** Ticks from which the tempo is estimated: two quarter notes. */
const WINDOW_TICKS = 48
/** A tick further from its expected time is an outlier: delayed, or of another tempo. */
const MAX_DEVIATION_TICKS = 0.3
/** After so many outliers in a row, none nearer than the one before, the tempo is estimated from them alone. */
const MAX_OUTLIERS = 3
/** Seconds between ticks, at 625 and at 17 bpm: nearer or further apart they show no tempo. */
const MIN_TICK_S = 0.004
const MAX_TICK_S = 0.15
/** Ticks by which the position runs on after the last one: the music stops when the clock does. */
const FREEWHEEL_TICKS = 1.5

/**
 * Position by the ticks of a MIDI clock, in steps from the beginning; times in seconds.
 *
 * A line fitted to the last ticks gives the tempo, and the position between them. Ticks count for the tempo also while
 * the clock is stopped.
 */
export class FollowedTempo {
  isRunning = false
  readonly stepsPerTick: number
  private waitsForTick = true
  /** Number and time. */
  private ticks: [number, number][] = []
  /** Number, time and deviation. */
  private outliers: [number, number, number][] = []
  /** Of the next tick, also while stopped. */
  private number = 0
  /** Number of the tick at step 0. */
  private first = 0
  /** Slope of the line, and time of tick 0. */
  private tickS: number
  private at = NaN
  private lastS = 0

  /** @param tempo until ticks give another */
  constructor(tempo: number, stepsPerQuarter: number) {
    this.stepsPerTick = stepsPerQuarter / TICKS_PER_QUARTER
    this.tickS = 60 / tempo / TICKS_PER_QUARTER
  }

  get tempo(): number {
    return 60 / this.tickS / TICKS_PER_QUARTER
  }

  get stepS(): number {
    return this.tickS / this.stepsPerTick
  }

  /** Position of the next tick. */
  get nextStep(): number {
    return (this.number - this.first) * this.stepsPerTick
  }

  /** The next tick is step 0. */
  start(): void {
    this.isRunning = this.waitsForTick = true
    this.first = this.number
  }

  /** The next tick is the position of `stop`, or of `jump` since then; no effect while it runs. */
  resume(): void {
    if (!this.isRunning) this.isRunning = this.waitsForTick = true
  }

  stop(): void {
    this.isRunning = false
  }

  /** The next tick is that step. */
  jump(step: number): void {
    this.waitsForTick = true
    this.first = this.number - Math.round(step / this.stepsPerTick)
  }

  tick(when: number): void {
    const number = this.number++
    this.estimate(number, when)
    if (!this.isRunning) this.first++ // the position stays, and is that of another tick now
    else this.waitsForTick = false
  }

  private estimate(number: number, when: number): void {
    const gap = when - this.lastS
    this.lastS = when
    if (gap > MAX_TICK_S) this.ticks = this.outliers = []
    const deviation = Math.abs(when - this.at - number * this.tickS)
    if (this.ticks.length > 2 && deviation > MAX_DEVIATION_TICKS * this.tickS) {
      const last = this.outliers.at(-1)
      if (last && deviation < last[2]) this.outliers = []
      this.outliers = [...this.outliers, [number, when, deviation]]
      if (this.outliers.length < MAX_OUTLIERS) return
      this.ticks = this.outliers.map(([outlier, time]) => [outlier, time])
    } else this.ticks = [...this.ticks.slice(1 - WINDOW_TICKS), [number, when]]
    this.outliers = []
    this.fit()
  }

  /** The line by least squares. */
  private fit(): void {
    const size = this.ticks.length
    const meanNumber = this.ticks.reduce((sum, [number]) => sum + number, 0) / size
    const meanTime = this.ticks.reduce((sum, [, time]) => sum + time, 0) / size
    const variance = this.ticks.reduce((sum, [number]) => sum + (number - meanNumber) ** 2, 0)
    if (variance) {
      const covariance = this.ticks.reduce((sum, [number, time]) => sum + (number - meanNumber) * (time - meanTime), 0)
      this.tickS = Math.max(covariance / variance, MIN_TICK_S)
    }
    this.at = meanTime - meanNumber * this.tickS
  }

  /** At most some ticks after the last one; -Infinity until a tick fixes it. */
  position(now: number): number {
    if (this.waitsForTick) return -Infinity
    const last = this.number - 1
    const number = Math.min((now - this.at) / this.tickS, last + FREEWHEEL_TICKS)
    return (Math.max(number, last) - this.first) * this.stepsPerTick
  }

  /** Where it was at a time that is not long past, by the tempo of now. */
  positionAt(when: number): number {
    if (this.waitsForTick) return -Infinity
    const number = Math.min((when - this.at) / this.tickS, this.number - 1 + FREEWHEEL_TICKS)
    return (number - this.first) * this.stepsPerTick
  }

  /** The time of a step if the tempo stays; Infinity if it depends on another tick. */
  timeOf(step: number): number {
    const number = step / this.stepsPerTick + this.first
    if (!this.isRunning || this.waitsForTick || number > this.number - 1 + FREEWHEEL_TICKS) return Infinity
    return this.at + number * this.tickS
  }
}

/** What follows: it is told where the music goes other than on. */
export interface Follower {
  /** From the beginning. */
  restart(): void
  stop(when: number): void
  /** To another step, which the next tick is, from `here`; without a gap where the clock runs, or stopped less than a step ago. */
  jump(step: number, here: number, isSeamless: boolean): void
  /** To a step less than a step away, after a pause: what comes from there on sounds, again if need be. */
  rewind(step: number): void
}

/** Gives the messages of a clock their effect. */
export class ClockRules {
  private stoppedS = -Infinity

  constructor(readonly tempo: FollowedTempo, private readonly follower: Follower) {}

  /** @param when in seconds @returns whether the message is one of a clock */
  receive([status, low, high]: Uint8Array, when: number): boolean {
    const { tempo, follower } = this
    if (status === CLOCK) tempo.tick(when)
    else if (status === START) {
      follower.restart()
      tempo.start()
    } else if (status === CONTINUE) tempo.resume()
    else if (status === STOP) {
      tempo.stop()
      this.stoppedS = when
      follower.stop(when)
    } else if (status === SONG_POSITION && high !== undefined) this.jump(low + 128 * high, when)
    else return false
    return true
  }

  private jump(sixteenths: number, when: number): void {
    const { tempo, follower } = this
    const step = sixteenths * TICKS_PER_SONG_POSITION * tempo.stepsPerTick
    const here = tempo.nextStep
    const isSeamless = tempo.isRunning || when - this.stoppedS < tempo.stepS
    tempo.jump(step)
    if (step === 0) follower.restart()
    else if (Math.abs(step - here) > 1) follower.jump(step, here, isSeamless)
    else if (!isSeamless) follower.rewind(step) // sequencers send that near the step where they stopped
  }
}
