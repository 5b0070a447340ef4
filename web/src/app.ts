/** What the page holds, and what can be done with it; the views show it and call it. */

import { removed } from './bars'
import { DEFAULTS, LEAST_SEED, MOST_SEED } from './bounds'
import { Replaced, Stopped } from './engine'
import type { Grid } from './grids'
import { History, type States } from './history'
import { keptByVariation } from './infill'
import type { Meta } from './meta'
import { changed, named, placed } from './placing'
import { isWished, planAround, planBars, planOf } from './plan'
import type { Engine } from './protocol'
import { type Busy, FIRST_SETTINGS, type Mixer, plainMixer, seconds, type Settings } from './settings'
import * as songs from './song'
import type { Song } from './song'
import { stepsInView, WHOLE, withStep } from './viewing'


/** Bars after those that are filled in that are heard and weighed. */
const BARS_AFTER = 2
/** Bars that endless play asks for at once, and that it keeps ahead. */
const CHUNK_BARS = 2
const AHEAD_BARS = 4
/** Endless play hears the last so many bars, or up to twice as many; where it is not disturbed it remembers all before. */
const HEARD_BARS = 64
/** How much busier or calmer a bar is asked to be. */
const STEP_OF_DENSITY = 1.35
export const MOST_DENSITY = 0.4

export class App {
  readonly history: History<Song>
  /** Of the voices; not changed but by `setMixer`. */
  mixer: Mixer
  settings: Settings = FIRST_SETTINGS
  volume = 0.9
  view = WHOLE
  /** Bars [first, last); none where both are the same, as in a song that was just opened. */
  selection: [number, number] = [0, 0]
  busy: Busy | null = null
  message = ''
  /** Is told how many steps the song lost at its start. */
  onForgotten: (steps: number) => void = () => undefined
  /** The song as it was opened, where it can be had again, as a beat or a link: as long as it is the song, nothing is to be kept. */
  opened: Song | null
  /** Is told when the mixer is another. */
  onMixer: () => void = () => undefined
  private readonly listeners: (() => void)[] = []
  private isAsked = false
  /** Bars that endless play has written, each to be undone by itself. */
  private endlessBars = 0

  constructor(readonly meta: Meta, song: Song, public engine: Engine) {
    this.history = new History(song)
    this.mixer = plainMixer(song.voices)
    this.opened = song
  }

  /** Grids that a new song can have: those that the model learnt. */
  get grids(): Grid[] {
    return this.meta.serves_every_grid ? this.meta.grids : [this.meta.grid]
  }

  get song(): Song {
    return this.history.value
  }

  get bars(): number {
    return songs.bars(this.song)
  }

  /** Calls back once for all changes of a frame. */
  onChange(listener: () => void): void {
    this.listeners.push(listener)
  }

  changed(): void {
    if (this.isAsked) return
    this.isAsked = true
    requestAnimationFrame(() => {
      this.isAsked = false
      for (const listener of this.listeners) listener()
    })
  }

  say(message: string): void {
    this.message = message
    this.changed()
  }

  // ---------------------------------------------------------------- writing

  /** @param merge changes of the same name are undone as one */
  edit(song: Song, merge: string | null = null): void {
    this.history.push(song, merge)
    this.keepInRange()
    this.changed()
  }

  /**
   * Another song in place of this one, which Undo brings back.
   *
   * @param name under which it is kept
   * @param canBeHadAgain whether it is not to be kept until something is written in it
   */
  open(song: Song, name: string, canBeHadAgain = false): void {
    this.busy?.stop.abort(new Replaced())
    const own = song.kept ? song : { ...song, kept: songs.newPlace(name) }
    this.opened = canBeHadAgain ? own : null
    this.edit(own)
    this.look()
  }

  /** A song as it was kept, with what Undo and Redo bring back. */
  restore(states: States<Song>, canBeHadAgain: boolean): void {
    this.busy?.stop.abort(new Replaced())
    this.history.load(states)
    this.opened = canBeHadAgain ? states.now : null
    this.look()
  }

  private look(): void {
    this.select(0, 0)
    this.show(0)
    // An infill hears the song up to its bars: beforehand, it need not be waited for.
    const { engine, song } = this
    engine.ready.then(() => engine.hear?.({ ...songs.part(song, 0), tempo: song.tempo, grid: song.grid }), () => undefined)
  }

  undo(): void {
    this.say(this.history.undo() ? 'Undone' : 'Nothing to undo')
    this.keepInRange()
  }

  redo(): void {
    this.say(this.history.redo() ? 'Redone' : 'Nothing to redo')
    this.keepInRange()
  }

  set(change: Partial<Settings>): void {
    this.settings = { ...this.settings, ...change }
    this.changed()
  }

  setMixer(change: Partial<Mixer>): void {
    this.mixer = { ...this.mixer, ...change }
    this.onMixer()
    this.changed()
  }

  /** Bars [first, last); none where nothing of that is in the song. */
  select(first: number, last: number): void {
    const [from, to] = [Math.max(0, first), Math.min(last, this.bars)]
    this.selection = from < to ? [from, to] : [0, 0]
    this.changed()
  }

  get hasSelection(): boolean {
    return this.selection[1] > 0
  }

  /** Whether bars are selected; says how they are where none is. */
  isSelected(): boolean {
    if (!this.hasSelection) this.say('No bar is selected: click bars above, Shift and a click for several')
    return this.hasSelection
  }

  /** Brings a bar into view. */
  show(bar: number): void {
    this.showStep(bar * this.song.stepsPerBar)
  }

  showStep(step: number): void {
    this.view = withStep(this.view, this.song.grid, Math.max(0, Math.min(step, songs.steps(this.song) - 1)))
    this.changed()
  }

  /** The steps before those in view, or after them. */
  turn(way: 1 | -1): void {
    const { first, count } = stepsInView(this.view, this.song.grid)
    this.showStep(way < 0 ? first - 1 : first + count)
  }

  setView({ bars, parts }: { bars: number; parts: number }): void {
    const { view } = this
    if (bars === view.bars && parts === view.parts) return
    this.view = { first: Math.floor(view.first / bars) * bars, bars, part: Math.min(view.part, parts - 1), parts }
    this.changed()
  }

  private keepInRange(): void {
    this.select(...this.selection)
    this.showStep(stepsInView(this.view, this.song.grid).first)
  }

  // ---------------------------------------------------------------- the model

  /** Bars after the last, so many as are set. */
  async continue(count = this.settings.bars): Promise<boolean> {
    const { song, bars } = this
    if (bars + count > songs.MOST_BARS) {
      this.say(`A song has at most ${songs.MOST_BARS} bars`)
      return false
    }
    return this.work(`Generating ${count} bars`, async (signal) => {
      const start = bars
      const began = performance.now()
      await this.goOn(song, start, count, signal, (at) => this.busyShare((at + 1) / count))
      this.select(start, start + count)
      this.show(start)
      this.say(`${count} new bars in ${seconds(performance.now() - began)}`)
    })
  }

  /** Endless play: keeps so many bars ahead of the bar that sounds. */
  async keepAhead(bar: number): Promise<void> {
    if (this.busy || !this.settings.endless) return
    if (this.bars - bar > AHEAD_BARS) return
    if (this.bars + CHUNK_BARS > songs.MOST_BARS) this.forget(HEARD_BARS)
    await this.work('', async (signal) => {
      await this.goOn(this.song, this.bars, CHUNK_BARS, signal, () => undefined, true)
    })
  }

  /** The first bars go, so that there is room for more. */
  private forget(count: number): void {
    const [first, last] = this.selection
    this.edit(removed(this.song, 0, count), `endless ${this.endlessBars}`) // undone with the bar that needed room
    this.select(first - count, last - count)
    this.show(this.view.first - count)
    this.onForgotten(count * this.song.stepsPerBar)
  }

  private async goOn(
    song: Song, start: number, count: number, signal: AbortSignal, onBar: (bar: number) => void, isEndless = false,
  ): Promise<void> {
    const { style, section, temperature, guidance } = this.settings
    const together = `continue ${start} ${this.settings.seed}`
    let asked = song
    for (let bar = start; bar < start + count; bar++) {
      const { fill, density } = songs.ask(song, bar)
      const drawn = density ?? (isEndless ? songs.ask(song, start - 1).density : null)
      asked = songs.setAsks(asked, bar, bar + 1, { style, section, fill, density: drawn })
    }
    const isGuided = isWished(asked.asks.slice(start, start + count))
    const from = isEndless ? Math.max(0, Math.floor(start / HEARD_BARS) - 1) * HEARD_BARS : 0
    const options = {
      seed: this.nextSeed(), temperature, topP: DEFAULTS.top_p, bias: null, guidance: isGuided ? guidance : 0,
      asked: planBars(this.meta, asked.asks.slice(from, start + count), start - from, song.tempo),
      song: { ...songs.part(song, from * song.stepsPerBar), tempo: song.tempo, grid: song.grid },
      bars: count,
      mayRemember: isEndless,
    }
    await this.engine.continue(options, (bar, part) => {
      if (signal.aborted) return
      const now = this.song // what was written meanwhile stays
      if (songs.bars(now) < start + bar) { // the bars before it were undone
        this.busy?.stop.abort()
        return
      }
      const step = (start + bar) * song.stepsPerBar
      let next = songs.replace(now, step, part)
      next = songs.setAsks(next, start + bar, start + bar + 1, asked.asks[start + bar])
      this.edit(next, isEndless ? `endless ${this.endlessBars++}` : together)
      onBar(bar)
    }, signal)
  }

  /** The unlocked cells of the selected bars anew, given the locked ones and the bars around. */
  fillIn(): Promise<boolean> {
    if (!this.isSelected()) return Promise.resolve(false)
    const [first, last] = this.selection
    const { style, section } = this.settings
    const song = songs.setAsks(this.song, first, last, { style, section, fill: 0 })
    return this.rework(`Filling in ${named(first, last)}`, song, first, last, this.freeBars(first, last))
  }

  /** The first selected bar as a drum fill. */
  fillBar(): Promise<boolean> {
    if (!this.isSelected()) return Promise.resolve(false)
    const [first] = this.selection
    const song = songs.setAsks(this.song, first, first + 1, { fill: 2 })
    return this.rework(`A fill in bar ${first + 1}`, song, first, first + 1, this.freeBars(first, first + 1))
  }

  /** A share of the selected bars anew, towards what is measured in the song, without guidance. */
  vary(strength = this.settings.strength): Promise<boolean> {
    if (!this.isSelected()) return Promise.resolve(false)
    const [first, last] = this.selection
    const { song } = this
    const size = song.stepsPerBar
    const known = keptByVariation((last - first) * size, song.voices, song.grid.steps_per_beat, strength, this.settings.seed)
    const isFree = (cell: number) => !known[cell - first * size * song.voices]
    return this.rework(`Varying ${named(first, last)}`, song, first, last, isFree, true)
  }

  /** The selected bars with more or fewer hits. */
  busier(way: 1 | -1): Promise<boolean> {
    if (!this.isSelected()) return Promise.resolve(false)
    const [first, last] = this.selection
    let { song } = this
    for (let bar = first; bar < last; bar++) {
      const now = songs.ask(song, bar).density ?? songs.density(song, bar)
      const density = Math.max(0.01, Math.min(Math.max(now, MOST_DENSITY), Math.max(now, 0.02) * STEP_OF_DENSITY ** way))
      song = songs.setAsks(song, bar, bar + 1, { density })
    }
    return this.rework(way > 0 ? 'Busier' : 'Calmer', song, first, last, this.freeBars(first, last))
  }

  private freeBars(first: number, last: number): (cell: number) => boolean {
    const size = this.song.stepsPerBar * this.song.voices
    return (cell) => cell >= first * size && cell < last * size
  }

  /** @param isFree of a cell that is not locked @param isVariation towards what is measured, not towards what is asked */
  private rework(
    label: string, song: Song, first: number, last: number, isFree: (cell: number) => boolean, isVariation = false,
  ): Promise<boolean> {
    const before = this.song
    const size = song.stepsPerBar
    const start = first * size
    const end = Math.min(songs.steps(song), (last + BARS_AFTER) * size)
    const known = new Uint8Array((end - start) * song.voices).fill(1)
    const from = start * song.voices
    for (let i = 0; i < known.length; i++) {
      const cell = from + i
      if (cell < last * size * song.voices && isFree(cell) && !songs.isLocked(song, cell)) known[i] = 0
    }
    if (!known.includes(0)) {
      this.say('All cells are locked: unlock some first')
      return Promise.resolve(false)
    }
    const asked = isVariation ? planOf(this.meta, song) : planAround(this.meta, song, first, last)
    const isGuided = !isVariation && isWished(song.asks.slice(first, last))
    return this.work(label, async (signal) => {
      const { temperature, guidance } = this.settings
      const began = performance.now()
      const { part, smallest } = await this.engine.infill({
        seed: this.nextSeed(), temperature, topP: DEFAULTS.top_p, bias: null, guidance: isGuided ? guidance : 0, asked,
        song: { ...songs.part(song, 0, end), tempo: song.tempo, grid: song.grid },
        start, known, particles: DEFAULTS.particles, horizonBars: null,
      }, (share) => this.busyShare(share), signal)
      if (signal.aborted) throw new Stopped()
      let now = placed(this.song, start, part, known) // what was written meanwhile stays
      for (let bar = first; bar < Math.min(last, songs.bars(now)); bar++) {
        now = songs.setAsks(now, bar, bar + 1, changed(songs.ask(before, bar), songs.ask(song, bar)))
      }
      this.edit(now)
      const warning = smallest < 2 ? '; the locks left little choice' : ''
      this.say(`${label}: done in ${seconds(performance.now() - began)}${warning}`)
    })
  }

  /** One thing at a time. @returns whether it came to its end */
  private async work(label: string, task: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    if (this.busy) {
      if (this.busy.label) {
        this.say('The model is still working: stop it first')
        return false
      }
      this.busy.stop.abort() // endless play waits
      while (this.busy) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const busy = (this.busy = { label, share: null, stop: new AbortController() } as Busy)
    this.changed()
    try {
      await this.engine.ready
      await task(busy.stop.signal)
      return true
    } catch (error) {
      if (error instanceof Stopped || (error as Error).name === 'AbortError') {
        if (label && !(busy.stop.signal.reason instanceof Replaced)) this.say('Stopped')
      } else {
        this.set({ endless: false })
        this.say((error as Error).message)
      }
      return false
    } finally {
      this.busy = null
      this.changed()
    }
  }

  private busyShare(share: number): void {
    if (this.busy) this.busy = { ...this.busy, share }
    this.changed()
  }

  private nextSeed(): number {
    const { seed } = this.settings
    this.settings = { ...this.settings, seed: seed < MOST_SEED ? seed + 1 : LEAST_SEED }
    return seed
  }
}
