/** What is asked of the bars, as the model takes it: by the rules of `hypermeter.play.plan` and `hypermeter.play.compose`. */

import type { Grid } from './grids'
import { measure } from './measure'
import type { Meta } from './meta'
import type { Asked } from './protocol'
import { ask, type Ask, type Song } from './song'

export const BEAT = 1
export const FILL = 2

/** A plan bar by bar, with names in place of columns. */
interface Bar {
  labels: Record<string, number>
  numbers: Record<string, number>
}

/** Whether anything but the tempo is asked of any bar: otherwise the model plays as learnt, and guidance counts for nothing. */
export function asksBeyondTempo(meta: Meta, asked: Asked | null): boolean {
  if (!asked) return false
  const tempo = meta.numbers.indexOf('tempo_bpm')
  return asked.labels.some((label) => label > 0)
    || asked.numbers.some((value, i) => i % meta.numbers.length !== tempo && !Number.isNaN(value))
}

/** Whether the user asks anything of bars: where nothing is, guidance is 0, whatever the plan says by default. */
export function isWished(asks: Ask[]): boolean {
  return asks.some(({ section, style, fill, density }) => section || style || fill || density !== null)
}

/**
 * The plan of bars from `first` on with those before them, as `plan_bars` makes it; null for a model that takes none.
 *
 * The new bars are told the tempo in any case. Where some of them are fills, the others are none; where nothing is heard
 * before and nothing is said of fills, the first of the phrase are asked to be none, but for its last. Bars before are
 * open, but for sections and styles that the user asked of them, where the new bars are asked some too: they tell how new
 * these are, so that music that is made in parts is that which is made at once.
 */
export function planBars(meta: Meta, asks: Ask[], first: number, tempo: number): Asked | null {
  return meta.labels && coded(meta, barsFrom(meta, asks, first, tempo))
}

/**
 * The plan of a song whose bars [first, last) are written anew, as `replace_bars` makes it.
 *
 * Of the bars after them is told what is told of the new ones too: density and fills as they are measured in all that
 * stays, section and style as the user asked them.
 */
export function planAround(meta: Meta, song: Song, first: number, last: number): Asked | null {
  if (!meta.labels) return null
  const size = song.stepsPerBar * song.voices
  const bars = barsFrom(meta, Array.from({ length: last }, (_, bar) => ask(song, bar)), first, song.tempo)
  const told = bars.slice(first)
  const stays = song.hits.filter((_, cell) => cell < first * size || cell >= last * size)
  measuredBars(meta, stays, song.tempo, song.grid).slice(first).forEach((bar, i) => {
    const { section, style } = ask(song, last + i)
    bars.push(like({ ...bar, labels: { ...bar.labels, section, style } }, told))
  })
  return coded(meta, bars)
}

/** The plan that is measured in a song, and its tempo, as `vary_groove` makes it. */
export function planOf(meta: Meta, { hits, tempo, grid }: Song): Asked | null {
  return meta.labels && coded(meta, measuredBars(meta, hits, tempo, grid))
}

function barsFrom(meta: Meta, asks: Ask[], first: number, tempo: number): Bar[] {
  const wished = asks.slice(first)
  const hasFill = wished.some(({ fill }) => fill === FILL)
  const begins = first === 0 && !wished.some(({ fill }) => fill)
  const told = wished.map(({ section, style, fill, density }, bar): Bar => {
    const isNone = hasFill || (begins && bar < meta.grid.bars_per_phrase - 1)
    return { labels: { section, style, fill: fill || (isNone ? BEAT : 0) }, numbers: { tempo_bpm: tempo, density: density ?? NaN } }
  })
  const heard = asks.slice(0, first).map(({ section, style }): Bar => like({ labels: { section, style }, numbers: {} }, told))
  return [...heard, ...told]
}

function measuredBars(meta: Meta, hits: Uint8Array, tempo: number, grid: Grid): Bar[] {
  return measure(hits, meta.num_drums, grid).map(({ density, offbeat, isFill }): Bar => ({
    labels: { fill: isFill === null ? 0 : isFill ? FILL : BEAT }, numbers: { tempo_bpm: tempo, density, offbeat },
  }))
}

/** What a bar tells of the kinds and numbers that other bars tell too. */
function like(bar: Bar, told: Bar[]): Bar {
  const only = (all: Record<string, number>, isTold: (name: string) => boolean) =>
    Object.fromEntries(Object.entries(all).filter(([name]) => isTold(name)))
  return {
    labels: only(bar.labels, (name) => told.some(({ labels }) => labels[name] > 0)),
    numbers: only(bar.numbers, (name) => told.some(({ numbers }) => !Number.isNaN(numbers[name] ?? NaN))),
  }
}

function coded(meta: Meta, bars: Bar[]): Asked {
  return {
    labels: bars.flatMap(({ labels }) => meta.kinds.map((kind) => labels[kind] ?? 0)),
    numbers: bars.flatMap(({ numbers }) => meta.numbers.map((name) => numbers[name] ?? NaN)),
  }
}
