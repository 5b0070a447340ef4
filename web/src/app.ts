/** What the page holds, and what can be done with it; the views show it and call it. */

import { removed, resized } from './bars'
import { DEFAULTS } from './bounds'
import { Replaced, Stopped } from './engine'
import { type Answer, answering, type Between, lockTaps, loudVoices, type Rhythm } from './follow'
import type { Grid } from './grids'
import { History, type States } from './history'
import { keptByVariation } from './infill'
import type { Meta } from './meta'
import { changed, named, placed } from './placing'
import { isWished, planAround, planBars, planOf } from './plan'
import type { Engine } from './protocol'
import { type Busy, FIRST_SETTINGS, type Mixer, plainMixer, seconds, type Settings } from './settings'
import * as songs from './song'
import type { Part, Song } from './song'
import { drawsOf, drawTakes, seedAfter, type Take } from './takes'
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
/** Choices between takes are undone as one. */
const TAKES = 'takes'

/** Takes to choose from. */
export interface Offer {
  takes: Take[]
  /** The song with each of them. */
  songs: Song[]
  /** Bars [first, last) that they are of. */
  bars: [number, number]
}

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
  private offered: Offer | null = null
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

  // ---------------------------------------------------------------- takes

  /** The takes of which one is the song as it is. */
  get offer(): Offer | null {
    return this.offered?.songs.includes(this.song) ? this.offered : null
  }

  /** Another of the takes in place of the one that is chosen; undone with it. */
  choose(number: number): void {
    const { offer } = this
    if (offer) this.edit(offer.songs[number], TAKES)
  }

  /** No more choice: the song stays as it is. */
  settle(): void {
    this.offered = null
    this.history.seal()
    this.changed()
  }

  /**
   * Draws so many takes as are set, and puts the first into the song as soon as it is there; then the others can be chosen.
   *
   * @param draw the music of a seed
   * @param placed a song with a take
   * @throws Stopped it is no longer wanted, or the song was changed before all were drawn: it keeps what is in it
   */
  private async drawInto(
    draw: (seed: number, onShare: (share: number) => void) => Promise<Part>, bars: [number, number], placed: (song: Song, part: Part) => Song,
    signal: AbortSignal,
  ): Promise<void> {
    const count = this.settings.takes
    const before: { song: Song; first: Song }[] = []
    const takes = await drawTakes(async (seed, number) => {
      const part = await draw(seed, (share) => this.busyShare((number + share) / drawsOf(count)))
      if (signal.aborted || (before.length && before[0].first !== this.song)) throw new Stopped()
      if (!before.length) {
        const { song } = this // what was written meanwhile stays
        before.push({ song, first: placed(song, part) })
        this.history.seal()
        this.edit(before[0].first, count > 1 ? TAKES : null)
      }
      return part
    }, count, this.nextSeed(drawsOf(count)))
    if (count === 1) return
    const [{ song, first }] = before
    this.offered = { takes, songs: takes.map(({ part }, number) => (number ? placed(song, part) : first)), bars }
    this.changed()
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
      if (this.settings.takes > 1) await this.goOnInTakes(song, start, count, signal)
      else await this.goOn(song, start, count, signal, (at) => this.busyShare((at + 1) / count))
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
    const together = `continue ${start} ${this.settings.seed}`
    const { asked, options } = this.continuation(song, start, count, isEndless)
    await this.engine.continue({ ...options, seed: this.nextSeed() }, (bar, part) => {
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

  private async goOnInTakes(song: Song, start: number, count: number, signal: AbortSignal): Promise<void> {
    const { asked, options } = this.continuation(song, start, count)
    const draw = async (seed: number, onShare: (share: number) => void) => {
      let made = songs.emptySong(song.voices, song.grid, 0)
      await this.engine.continue({ ...options, seed }, (bar, part) => {
        made = songs.replace(made, bar * song.stepsPerBar, part)
        onShare((bar + 1) / count)
      }, signal)
      return songs.part(made, 0)
    }
    await this.drawInto(draw, [start, start + count], (now, part) => {
      if (songs.bars(now) < start) throw new Stopped() // the bars before them were undone
      let next = songs.replace(now, start * song.stepsPerBar, part)
      for (let bar = start; bar < start + count; bar++) next = songs.setAsks(next, bar, bar + 1, asked.asks[bar])
      return next
    }, signal)
  }

  /** What is asked of bars after a song, and the request for them but for its seed. */
  private continuation(song: Song, start: number, count: number, isEndless = false) {
    const { style, section, temperature, guidance } = this.settings
    let asked = song
    for (let bar = start; bar < start + count; bar++) {
      const { fill, density } = songs.ask(song, bar)
      const drawn = density ?? (isEndless ? songs.ask(song, start - 1).density : null)
      asked = songs.setAsks(asked, bar, bar + 1, { style, section, fill, density: drawn })
    }
    const isGuided = isWished(asked.asks.slice(start, start + count))
    const from = isEndless ? Math.max(0, Math.floor(start / HEARD_BARS) - 1) * HEARD_BARS : 0
    const options = {
      temperature, topP: DEFAULTS.top_p, bias: null, guidance: isGuided ? guidance : 0,
      asked: planBars(this.meta, asked.asks.slice(from, start + count), start - from, song.tempo),
      song: { ...songs.part(song, from * song.stepsPerBar), tempo: song.tempo, grid: song.grid },
      bars: count,
      mayRemember: isEndless,
    }
    return { asked, options }
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

  /**
   * The selected bars as drums that follow a rhythm, or without a selection as many bars as it has, from the first on.
   *
   * @param answer which voices answer its taps
   * @param between what these do between taps
   */
  follow(rhythm: Rhythm, answer: Answer, between: Between): Promise<boolean> {
    const { meta } = this
    const bars = Math.ceil(rhythm.isTap.length / this.song.stepsPerBar)
    if (!this.hasSelection) {
      if (bars > this.bars) this.edit(resized(this.song, Math.min(bars, songs.MOST_BARS)))
      this.select(0, bars)
    }
    const [first, last] = this.selection
    const { style, section } = this.settings
    const song = songs.setAsks(songs.clear(this.song, first, last), first, last, { style, section, fill: 0 })
    const demand = (known: Uint8Array, values: Uint8Array) => (
      lockTaps(rhythm, (last - first) * song.stepsPerBar, known, values, answering(meta, answer), loudVoices(meta), between)
    )
    return this.rework(`Following ${rhythm.name}`, song, first, last, this.freeBars(first, last), false, demand)
  }

  private freeBars(first: number, last: number): (cell: number) => boolean {
    const size = this.song.stepsPerBar * this.song.voices
    return (cell) => cell >= first * size && cell < last * size
  }

  /**
   * @param isFree of a cell that is not locked
   * @param isVariation towards what is measured, not towards what is asked
   * @param demand what else is locked, given what is, from the first of the bars on
   */
  private rework(
    label: string, song: Song, first: number, last: number, isFree: (cell: number) => boolean, isVariation = false,
    demand: ((known: Uint8Array, values: Uint8Array) => { known: Uint8Array; some: Uint8Array }) | null = null,
  ): Promise<boolean> {
    const before = this.song
    const size = song.stepsPerBar
    const start = first * size
    const end = Math.min(songs.steps(song), (last + BARS_AFTER) * size)
    const kept = new Uint8Array((end - start) * song.voices).fill(1)
    const from = start * song.voices
    for (let i = 0; i < kept.length; i++) {
      const cell = from + i
      if (cell < last * size * song.voices && isFree(cell) && !songs.isLocked(song, cell)) kept[i] = 0
    }
    if (!kept.includes(0)) {
      this.say('All cells are locked: unlock some first')
      return Promise.resolve(false)
    }
    const locks = demand ? demand(kept, song.hits.subarray(from)) : { known: kept, some: null }
    const asked = isVariation ? planOf(this.meta, song) : planAround(this.meta, song, first, last)
    const isGuided = !isVariation && isWished(song.asks.slice(first, last))
    return this.work(label, async (signal) => {
      const { temperature, guidance } = this.settings
      const began = performance.now()
      const options = {
        temperature, topP: DEFAULTS.top_p, bias: null, guidance: isGuided ? guidance : 0, asked,
        song: { ...songs.part(song, 0, end), tempo: song.tempo, grid: song.grid },
        start, ...locks, particles: DEFAULTS.particles, horizonBars: null,
      }
      let least = Infinity
      const draw = async (seed: number, onShare: (share: number) => void) => {
        const { part, smallest } = await this.engine.infill({ ...options, seed }, onShare, signal)
        least = Math.min(least, smallest)
        return part
      }
      await this.drawInto(draw, [first, last], (current, part) => {
        let now = placed(current, start, part, kept)
        for (let bar = first; bar < Math.min(last, songs.bars(now)); bar++) {
          now = songs.setAsks(now, bar, bar + 1, changed(songs.ask(before, bar), songs.ask(song, bar)))
        }
        return now
      }, signal)
      const warning = least < 2 ? '; the locks left little choice' : ''
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

  /** The seed of the next use, which takes so many. */
  private nextSeed(count = 1): number {
    const { seed } = this.settings
    this.settings = { ...this.settings, seed: seedAfter(seed, count) }
    return seed
  }
}
