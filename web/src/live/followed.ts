/** Playing by a MIDI clock: hits are handed out as its ticks tell their times. */

import { type Instrument, type Near, type Score } from '../transport'
import { ClockRules, FollowedTempo, type Follower } from './following'
import { CONTINUE, START } from './messages'
import type { SoundTime } from './time'

/** Milliseconds between looks, beside those at each tick. */
const LOOK_MS = 10
/** A hit that can be handed out only so many seconds after its time is left out. */
const DROP_S = 0.05
/** Hits that were handed out and are kept, as a stop may come before they sound. */
const KEPT_HITS = 64
/** Milliseconds without a message after which the clock is lost, which had stopped the notes before. */
const LOST_MS = 700

type Hit = ReturnType<Score['hitsAt']>[number]

/** A hit that was handed out: its step, its rank in it, and its time in seconds. */
interface Handed {
  step: number
  rank: number
  at: number
}

export class FollowedTransport implements Follower {
  readonly tempo: FollowedTempo
  readonly gaps = 0
  private readonly rules: ClockRules
  private readonly timer: ReturnType<typeof setInterval>
  /** The next hit: step from the beginning, and rank of those of the step. */
  private next = { step: 0, rank: 0 }
  private hits: { step: number; all: Hit[] } = { step: -1, all: [] }
  private handed: Handed[] = []
  /** The next step whose beginning is told. */
  private nextStep = 0
  /** Steps that the score lost at its start. */
  private lost = 0
  /** Stopped by hand, until the clock starts or goes on anew. */
  private isHeld = false
  private wasPlaying = false
  /** When the last message was told. */
  private heardMs = 0

  /**
   * @param tempo until the clock gives another
   * @param time of the sound
   * @param lateMs by which all is played later than the clock, or earlier where it is negative
   * @param onChange is told when it begins to play, and when it ends
   */
  constructor(
    tempo: number, readonly stepsPerQuarter: number, private readonly score: Score, private readonly instrument: Instrument,
    private readonly time: () => SoundTime, private readonly lateMs: () => number, private readonly onChange: () => void,
  ) {
    this.tempo = new FollowedTempo(tempo, stepsPerQuarter)
    this.rules = new ClockRules(this.tempo, this)
    this.timer = setInterval(() => this.look(), LOOK_MS)
  }

  /** Follows no more. */
  close(): void {
    clearInterval(this.timer)
    this.instrument.silence()
  }

  get isPlaying(): boolean {
    return this.tempo.isRunning && !this.isHeld
  }

  get isLost(): boolean {
    return this.tempo.isRunning && performance.now() - this.heardMs > LOST_MS
  }

  /** @param at milliseconds of the page */
  receive(data: Uint8Array, at: number): void {
    this.heardMs = performance.now() // which may be late: it is not lost
    if (data[0] === START || (data[0] === CONTINUE && !this.tempo.isRunning)) this.isHeld = false
    if (this.rules.receive(data, at / 1000)) this.look()
  }

  /** Plays from where the clock is, after a stop by hand. */
  start(): void {
    this.isHeld = false
    const position = this.tempo.position(this.now_s)
    this.go(Math.max(0, Math.ceil(Number.isFinite(position) ? position : this.tempo.nextStep)))
    this.look()
  }

  /** Plays no more until the clock starts or goes on anew, or `start`. */
  stop(): void
  stop(when: number): void
  stop(when?: number): void {
    if (when === undefined) this.isHeld = true
    const unheard = this.handed.find(({ at }) => at > (when ?? performance.now() / 1000))
    if (unheard) this.go(unheard.step, unheard.rank) // it sounds when the clock goes on
    this.instrument.silence()
    this.look()
  }

  restart(): void {
    if (this.handed.length) this.instrument.silence()
    this.go(0)
  }

  jump(step: number, here: number, isSeamless: boolean): void {
    // Hits ahead of the beat that went out before the jump stand for those of the beat after it.
    const early = isSeamless ? this.handed.filter((hit) => hit.step >= here).length : 0
    this.go(Math.ceil(step), early)
  }

  rewind(step: number): void {
    this.go(Math.ceil(step))
  }

  private go(step: number, rank = 0): void {
    this.next = { step, rank }
    this.nextStep = step
    this.hits.step = -1
    this.handed = []
  }

  dropped(steps: number): void {
    this.lost += steps
    this.hits.step = -1
  }

  /** The step that sounds now, or -1. */
  now(): number {
    const position = this.tempo.position(this.now_s)
    return this.isPlaying && position >= 0 ? (this.placeOf(Math.floor(position)) ?? -1) : -1
  }

  /** The steps around a time of the sound. */
  near(time: number): Near[] {
    const position = this.tempo.positionAt(this.time().toPage(time) / 1000 - this.late_s)
    if (!this.isPlaying || position === -Infinity) return []
    return [-1, 0, 1].flatMap((way) => {
      const step = Math.floor(position) + way
      const place = step < 0 ? null : this.placeOf(step)
      return place === null || Math.abs(position - step) >= 1 ? [] : [{ step: place, late: position - step }]
    })
  }

  private get late_s(): number {
    return this.lateMs() / 1000
  }

  /** The time at which the clock is what sounds now. */
  private get now_s(): number {
    return performance.now() / 1000 - this.late_s
  }

  /** Where a step from the beginning is in the score; null where the score has none yet. */
  private placeOf(step: number): number | null {
    const loop = this.score.loop()
    if (loop) return loop[1] > loop[0] ? loop[0] + (step % (loop[1] - loop[0])) : null
    const place = step - this.lost
    return place >= 0 && place < this.score.steps() ? place : null
  }

  /** How often the loop began anew before a step. */
  private passOf(step: number): number {
    const loop = this.score.loop()
    return loop && loop[1] > loop[0] ? Math.floor(step / (loop[1] - loop[0])) : 0
  }

  private hitsAt(step: number): Hit[] | null {
    const place = this.placeOf(step)
    if (place === null) return null
    if (this.hits.step !== step || this.next.rank === 0) {
      this.hits = { step, all: this.score.hitsAt(place, this.passOf(step)).sort((a, b) => a.late - b.late) }
    }
    return this.hits.all
  }

  /** Hands out all whose times are known. */
  private look(): void {
    if (this.isPlaying !== this.wasPlaying) {
      this.wasPlaying = this.isPlaying
      this.onChange()
    }
    const { instrument, tempo } = this
    const now = performance.now() / 1000
    if (this.isPlaying) {
      for (let due; (due = tempo.timeOf(this.nextStep)) < Infinity; this.nextStep++) {
        const place = this.placeOf(this.nextStep)
        if (place !== null) instrument.step?.(place, this.toClock(due + this.late_s, now), tempo.stepS)
      }
      this.handOut(now)
    }
    instrument.settle?.(this.time().toClock(now * 1000))
  }

  private handOut(now: number): void {
    for (let hits; (hits = this.hitsAt(this.next.step)); ) {
      for (; this.next.rank < hits.length; this.next.rank++) {
        const { voice, velocity, late, openness } = hits[this.next.rank]
        const due = this.tempo.timeOf(this.next.step + late)
        if (due === Infinity) return
        const at = due + this.late_s
        if (now - at <= DROP_S) this.instrument.hit(voice, velocity, this.toClock(at, now), openness)
        this.handed = [...this.handed.slice(1 - KEPT_HITS), { step: this.next.step, rank: this.next.rank, at }]
      }
      if (this.tempo.timeOf(this.next.step + 0.5) === Infinity) return // it may get more hits
      this.next = { step: this.next.step + 1, rank: 0 }
    }
  }

  /** A time of the sound, which is never past. */
  private toClock(at: number, now: number): number {
    return this.time().toClock(Math.max(at, now) * 1000)
  }
}
