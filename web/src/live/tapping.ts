/** Tap tempo: the tempo of the taps of a hand. */

/** A longer pause begins anew; the last so many taps count. */
const PAUSE_MS = 2000
const TAPS = 9

export class TapTempo {
  private taps: number[] = []

  /** @param at milliseconds @returns beats a minute, to a tenth; null for the first tap, and for one at the time of the last */
  tap(at: number): number | null {
    const last = this.taps.at(-1)
    if (last !== undefined && at <= last) return null
    if (last !== undefined && at - last > PAUSE_MS) this.taps = []
    this.taps = [...this.taps.slice(1 - TAPS), at]
    const count = this.taps.length
    if (count < 2) return null
    // Least squares: a line through all taps, so that the first and the last count no more than others.
    const middle = (count - 1) / 2
    const slope = this.taps.reduce((sum, time, number) => sum + (number - middle) * time, 0)
    const spread = this.taps.reduce((sum, _, number) => sum + (number - middle) ** 2, 0)
    return Math.round((600_000 * spread) / slope) / 10
  }
}
