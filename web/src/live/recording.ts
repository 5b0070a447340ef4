/** What is played on pads is written into the song, where it was played. */

import type { App } from '../app'
import * as songs from '../song'
import type { Song, Stroke } from '../song'
import type { Instrument, Near } from '../transport'

const SOFTEST = 1 / 127
const EARLIEST = -0.5
const LATEST = 0.499

/** A stroke on a pad: how hard, in (0, 1], and how open the hi-hat is, NaN where it is not known. */
export interface Tap {
  voice: number
  velocity: number
  openness: number
}

/** The step that a tap is nearest to, as it is played with its swing, and how late the tap is for it. */
export function placeOf(song: Song, near: Near[]): Near | null {
  const apart = near.filter(({ step }) => step < songs.steps(song)).map(({ step, late }) => ({ step, late: late - songs.swingOf(song, step) }))
  const nearest = apart.sort((a, b) => Math.abs(a.late) - Math.abs(b.late))[0]
  return nearest ? { ...nearest, late: Math.max(EARLIEST, Math.min(LATEST, nearest.late)) } : null
}

/**
 * With a tap in a cell.
 *
 * @param late in steps @param joins whether the cell's hit was played just before, as of a flam: both stay
 */
export function withTap(song: Song, cell: number, tap: Tap, late: number, joins: boolean): Song {
  const fresh: Stroke = { offset: Math.fround(late), velocity: Math.fround(Math.max(SOFTEST, Math.min(1, tap.velocity))), openness: Math.fround(tap.openness) }
  const hit = { offset: song.offset[cell], velocity: song.velocity[cell], openness: song.openness[cell] }
  const all = joins && song.hits[cell] ? [hit, ...(song.strokes.get(cell) ?? []), fresh] : [fresh]
  const loudest = all.reduce((most, stroke) => (stroke.velocity > most.velocity ? stroke : most))
  const others = all.filter((stroke) => stroke !== loudest).sort((a, b) => a.offset - b.offset).slice(0, songs.MOST_STROKES_OF_CELL)
  const written = songs.setHits(song, [cell], 1, loudest.velocity)
  written.offset[cell] = loudest.offset
  written.openness[cell] = loudest.openness
  const strokes = new Map(written.strokes)
  if (others.length) strokes.set(cell, others)
  return { ...written, strokes }
}

/** How it is recorded; read each time. */
export interface Recording {
  /** On the grid, without its timing. */
  isQuantised: boolean
  /** What stood there stays; otherwise it goes as it is passed for the first time. */
  isOverdub: boolean
  /** Milliseconds by which pads come late. */
  delayMs: number
  /** Steps around a time of the page. */
  near(milliseconds: number): Near[]
}

export class Recorder implements Instrument {
  isOn = false
  private takes = 0
  /** Steps that were passed, and when each cell was played, in milliseconds of the page. */
  private readonly passed = new Set<number>()
  private readonly played = new Map<number, number>()
  private stepMs = 0

  constructor(private readonly app: App, private readonly asked: Recording) {}

  start(): void {
    this.isOn = true
    this.takes++
    this.passed.clear()
    this.played.clear()
  }

  stop(): void {
    this.isOn = false
    this.app.history.seal()
  }

  hit(): void {
    // What the song plays is not recorded.
  }

  silence(): void {
    // It makes no sound.
  }

  /** A step is about to sound: where the take replaces what was there, that goes. */
  step(step: number, _: number, length: number): void {
    this.stepMs = length * 1000
    if (!this.isOn || step < 0 || this.asked.isOverdub || this.passed.has(step)) return
    this.passed.add(step)
    const { song } = this.app
    const cells = Array.from({ length: song.voices }, (_none, voice) => step * song.voices + voice)
    const gone = cells.filter((cell) => song.hits[cell] && !songs.isLocked(song, cell) && !this.played.has(cell))
    if (gone.length) this.app.edit(songs.setHits(song, gone, 0), this.name)
  }

  /** @param at milliseconds of the page @returns whether it was written */
  tap(tap: Tap, at: number): boolean {
    if (!this.isOn) return false
    const { app, asked } = this
    const { song } = app
    const place = placeOf(song, asked.near(at - asked.delayMs))
    if (!place) return false
    const cell = place.step * song.voices + tap.voice
    const last = this.played.get(cell)
    const joins = last !== undefined && at - last < this.stepMs
    this.played.set(cell, at)
    if (asked.isQuantised && joins && song.velocity[cell] >= tap.velocity) return true // the loudest of a cell counts
    app.edit(withTap(song, cell, tap, asked.isQuantised ? 0 : place.late, joins && !asked.isQuantised), this.name)
    return true
  }

  /** Under which a take is undone as one. */
  private get name(): string {
    return `record ${this.takes}`
  }
}
