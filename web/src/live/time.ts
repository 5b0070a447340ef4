/** Between the clock of the sound and that of the page, in which MIDI messages are stamped. */

import type { Clock } from '../transport'

/** Samples of which the median counts, and milliseconds between two of them. */
const SAMPLES = 15
const EVERY_MS = 20
/** Further apart, the clocks were stopped. */
const STOPPED_MS = 100

type Stamped = Clock & { getOutputTimestamp?(): AudioTimestamp }

/** The page's own clock, where there is no sound. */
export const PAGE_CLOCK: Clock = {
  get currentTime() { return performance.now() / 1000 },
}

/** Sound is late by what the machine takes to let it out: a time of the clock is when its sound is heard. */
export class SoundTime {
  private samples: number[] = []
  private median = 0
  private looked = -Infinity

  constructor(readonly clock: Stamped) {}

  /** Milliseconds of the page, as of `performance.now()` and of MIDI messages. */
  toPage(seconds: number): number {
    return seconds * 1000 + this.offset()
  }

  toClock(milliseconds: number): number {
    return (milliseconds - this.offset()) / 1000
  }

  private offset(): number {
    const now = performance.now()
    if (now - this.looked < EVERY_MS) return this.median
    this.looked = now
    const { clock } = this
    const { contextTime = 0, performanceTime = 0 } = clock.getOutputTimestamp?.() ?? {}
    const heard = clock.currentTime - (clock.outputLatency || 0)
    const sample = performanceTime > 0 && contextTime > 0 ? performanceTime - contextTime * 1000 : now - heard * 1000
    if (Math.abs(sample - this.median) > STOPPED_MS) this.samples = []
    this.samples = [...this.samples.slice(1 - SAMPLES), sample]
    this.median = this.samples.toSorted((a, b) => a - b)[this.samples.length >> 1]
    return this.median
  }
}
