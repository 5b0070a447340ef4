/** Clicks at each beat: while a beat is counted in, and where it is asked for. */

import { stepsPerBar, stepsPerPulse, type Grid } from '../grids'
import type { Instrument } from '../transport'

/** Hertz of the first beat of a bar and of others; seconds that a click lasts, and how loud it is. */
const FIRST_HZ = 1760
const OTHER_HZ = 1175
const CLICK_S = 0.05
const GAIN = 0.35

export class Metronome implements Instrument {
  private readonly clicks = new Set<OscillatorNode>()

  /** @param output that it sounds at; null where there is no sound */
  constructor(
    private readonly output: () => AudioContext | null, private readonly grid: () => Grid, private readonly isOn: () => boolean,
  ) {}

  hit(): void {
    // It hears the beats alone.
  }

  step(step: number, at: number): void {
    const context = this.output()
    const grid = this.grid()
    if (!context || !(step < 0 || this.isOn()) || step % stepsPerPulse(grid) !== 0) return
    const isFirst = step % stepsPerBar(grid) === 0
    const click = new OscillatorNode(context, { frequency: isFirst ? FIRST_HZ : OTHER_HZ })
    const gain = new GainNode(context, { gain: GAIN })
    gain.gain.setValueAtTime(GAIN, at)
    gain.gain.exponentialRampToValueAtTime(0.001, at + CLICK_S)
    click.connect(gain).connect(context.destination)
    click.start(at)
    click.stop(at + CLICK_S)
    this.clicks.add(click)
    click.onended = () => {
      this.clicks.delete(click)
      gain.disconnect()
    }
  }

  silence(): void {
    for (const click of this.clicks) click.stop()
    this.clicks.clear()
  }
}
