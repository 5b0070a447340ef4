import { expect, test } from 'vitest'
import { measure, noveltyOf } from '../src/measure'
import type { Meta } from '../src/meta'
import { asksBeyondTempo, BEAT, FILL, isWished, planAround, planBars, planOf } from '../src/plan'
import type { Asked } from '../src/protocol'
import * as songs from '../src/song'
import { OPEN, type Ask } from '../src/song'

const VOICES = 2
const grid = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }
const meta = {
  labels: { section: ['A', 'B'], style: ['rock'], fill: ['beat', 'fill'] }, kinds: ['section', 'style', 'fill'],
  numbers: ['tempo_bpm', 'density', 'offbeat'], grid, num_drums: VOICES,
} as unknown as Meta
const asks = (...changes: Partial<Ask>[]): Ask[] => changes.map((change) => ({ ...OPEN, ...change }))
const rows = <T>(all: T[]): T[][] => Array.from({ length: all.length / 3 }, (_, bar) => all.slice(bar * 3, bar * 3 + 3))
const fills = (asked: Asked | null) => rows(asked!.labels).map(([, , fill]) => fill)

test('a model without labels takes no plan', () => {
  const plain = { ...meta, labels: null }
  const song = songs.emptySong(VOICES, meta.grid, 4)
  expect([planBars(plain, asks({}), 0, 100), planAround(plain, song, 0, 1), planOf(plain, song)]).toEqual([null, null, null])
})

test('the tempo is told of new bars where nothing is asked, and nothing of those before', () => {
  const { labels, numbers } = planBars(meta, asks({}, {}, {}), 1, 90)!
  expect(labels).toEqual(Array(9).fill(0))
  expect(rows(numbers)).toEqual([[NaN, NaN, NaN], [90, NaN, NaN], [90, NaN, NaN]])
})

test('from silence the first bars of the phrase are no fills, where nothing is said of fills', () => {
  expect(fills(planBars(meta, asks({}, {}, {}, {}, {}), 0, 90))).toEqual([BEAT, BEAT, BEAT, 0, 0])
  expect(fills(planBars(meta, asks({}, {}), 0, 90))).toEqual([BEAT, BEAT])
  expect(fills(planBars(meta, asks({}, { fill: BEAT }), 0, 90))).toEqual([0, BEAT])
  expect(fills(planBars(meta, asks({}, {}, {}), 1, 90))).toEqual([0, 0, 0])
})

test('where some new bars are fills, the others are none; fills before them count for nothing', () => {
  expect(fills(planBars(meta, asks({}, { fill: FILL }, {}), 0, 90))).toEqual([BEAT, FILL, BEAT])
  expect(fills(planBars(meta, asks({ fill: FILL }, {}), 1, 90))).toEqual([0, 0])
})

test('of bars before, section and style are told where the new ones are asked some', () => {
  const heard = { section: 2, style: 1, density: 0.3 }
  const { labels, numbers } = planBars(meta, asks(heard, { style: 1 }), 1, 90)!
  expect(rows(labels)).toEqual([[0, 1, 0], [0, 1, 0]])
  expect(rows(numbers)).toEqual([[NaN, NaN, NaN], [90, NaN, NaN]])
  expect(planBars(meta, asks(heard, {}), 1, 90)).toEqual(planBars(meta, asks({}, {}), 1, 90))
})

test('guidance counts where something is wished beside the tempo', () => {
  const asked = (numbers: number[], labels = [0, 0, 0]): Asked => ({ labels, numbers })
  expect([asks({}), asks({}, { fill: 1 }), asks({ density: 0 }), []].map(isWished)).toEqual([false, true, true, false])
  expect(asksBeyondTempo(meta, null)).toBe(false)
  expect(asksBeyondTempo(meta, asked([120, NaN, NaN]))).toBe(false)
  expect(asksBeyondTempo(meta, asked([120, 0, NaN]))).toBe(true)
  expect(asksBeyondTempo(meta, asked([NaN, NaN, NaN, 120, NaN, NaN], [0, 0, 0, 0, 0, 2]))).toBe(true)
})

test('of bars after new ones is told what is told of these, as it is measured', () => {
  const hits = Array.from({ length: 8 }, (_, i) => (2 * 16 + i) * VOICES)
  const song = songs.setAsks({ ...songs.setHits(songs.emptySong(VOICES, meta.grid, 4), hits, 1), tempo: 90 }, 2, 4, { style: 1, section: 1 })
  const dense = planAround(meta, songs.setAsks(song, 1, 2, { density: 0.5, style: 1 }), 1, 2)!
  expect(rows(dense.numbers)).toEqual([[NaN, NaN, NaN], [90, 0.5, NaN], [90, 0.25, NaN], [90, 0, NaN]])
  expect(rows(dense.labels)).toEqual([[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
  const filled = planAround(meta, songs.setAsks(song, 1, 2, { fill: FILL }), 1, 2)!
  expect(rows(filled.numbers).slice(1)).toEqual(Array(3).fill([90, NaN, NaN]))
  expect(fills(filled)).toEqual([0, FILL, FILL, BEAT]) // two empty bars are around the third
})

test('density, off-beat share and fills are measured bar by bar', () => {
  const song = songs.setHits(songs.emptySong(VOICES, meta.grid, 4), [0, 2, 8, 9].map((cell) => 2 * 16 * VOICES + cell), 1)
  expect(measure(song.hits, VOICES, grid)).toEqual([
    { density: 0, offbeat: NaN, isFill: false }, { density: 0, offbeat: NaN, isFill: false },
    { density: 4 / 32, offbeat: 0.25, isFill: true }, { density: 0, offbeat: NaN, isFill: false },
  ])
  expect(measure(song.hits.subarray(0, 3 * 8 * VOICES), VOICES, grid).map(({ isFill }) => isFill)).toEqual([null, null])
  expect(rows(planOf(meta, { ...song, tempo: 90 })!.numbers)[2]).toEqual([90, 0.125, 0.25])
})

test('a bar is as new as bars around it are alike and it is not', () => {
  const bars = [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0]].map((bar) => Uint8Array.from(bar))
  expect(noveltyOf(bars, 1)).toEqual([NaN, 0 - 0.25, NaN])
  expect(noveltyOf(bars, 4)).toEqual([0 - 0.25, 0 - 0.25, 0.5 - 0])
})
