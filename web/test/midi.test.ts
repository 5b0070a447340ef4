import { expect, test } from 'vitest'
import { MidiError, readMidi, writeMidi } from '../src/midi'
import { HITS, uniforms } from '../src/rng'
import type { Stroke } from '../src/song'

const VOICES = [{ pitches: [36, 35], write: 36 }, { pitches: [38, 40], write: 38 }, { pitches: [42], write: 42 }]

function someGroove(seed: number) {
  const cells = 3 * 64
  const [first, second, third] = [0, 1, 2].map((step) => uniforms(seed, HITS, 0, step, cells))
  const hits = Uint8Array.from(first, (u) => (u < 0.3 ? 1 : 0))
  hits[cells - 1] = 1
  const velocity = Float32Array.from(hits, (hit, cell) => hit * Math.ceil(second[cell] * 126) / 127)
  const offset = Float32Array.from(hits, (hit, cell) => hit * (cell < 3 ? third[cell] * 0.4 : third[cell] * 0.98 - 0.5))
  const openness = new Float32Array(hits.length).fill(NaN)
  return { hits, velocity, offset, openness, strokes: new Map<number, Stroke[]>(), shift: 0, tempo: 133.25 }
}

const GRID = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }

const read = (bytes: Uint8Array, mostBars = 256) => readMidi(bytes, VOICES, GRID, mostBars)

/** Its timing has no grid of its own. */
const readAsWritten = (bytes: Uint8Array, mostBars = 256) => readMidi(bytes, VOICES, GRID, mostBars, { shift: 'keep' })

test.each([1, 2, 3])('what is written is read back, seed %i', (seed) => {
  const groove = someGroove(seed)
  const back = readAsWritten(writeMidi(groove, VOICES, GRID))
  expect(back.hits).toEqual(groove.hits)
  expect(back.tempo).toBeCloseTo(groove.tempo, 2)
  expect(back.bars).toBe(4)
  expect(back.losses).toEqual(['no clear grid: hits are anywhere between the steps; check the tempo'])
  groove.hits.forEach((hit, cell) => {
    if (!hit) return
    expect(back.velocity[cell]).toBeCloseTo(groove.velocity[cell], 5)
    expect(Math.abs(back.offset[cell] - groove.offset[cell])).toBeLessThanOrEqual(1 / 120)
  })
})

test('silent bars at the end are written and read back', () => {
  const groove = someGroove(1)
  for (const cells of ['hits', 'velocity', 'offset'] as const) groove[cells].fill(0, 3 * 20)
  const bytes = writeMidi(groove, VOICES, GRID)
  expect(readAsWritten(bytes).bars).toBe(4)
  expect(readAsWritten(bytes).hits).toEqual(groove.hits)
  expect(readAsWritten(bytes, 3).bars).toBe(3)
})

test.each([[1920 * 3, 3], [1920 * 3 - 1, 1]])('a file that ends at tick %i has %i bars', (tick, bars) => {
  const delta = [0x80 | (tick >> 7), tick & 127]
  expect(read(file([0, 0x99, 36, 100, ...delta, 0xff, 1, 0])).bars).toBe(bars)
})

/** A file of one track. */
function file(events: number[], format = 0, division = 480): Uint8Array {
  const size = events.length + 4
  return Uint8Array.from([
    0x4d, 0x54, 0x68, 0x64, 0, 0, 0, 6, 0, format, 0, 1, division >> 8, division & 255,
    0x4d, 0x54, 0x72, 0x6b, size >> 24, (size >> 16) & 255, (size >> 8) & 255, size & 255, ...events, 0, 0xff, 0x2f, 0,
  ])
}

test('running status, unmapped pitches and other channels are understood', () => {
  const found = read(file([0, 0x99, 36, 100, 0, 38, 90, 0, 60, 90, 0, 0x90, 42, 90, 120, 0x89, 36, 0]))
  expect([...found.hits.subarray(0, 3)]).toEqual([1, 1, 0])
  expect(found.losses).toEqual([expect.stringContaining('60 high bongo: 1')])
})

test('events of no channel leave running status and the time as they are', () => {
  const sysex = [0, 0xf0, 5, 0x7e, 0x7f, 9, 1, 0xf7]
  const marker = [0, 0xff, 6, 1, 0x41]
  const found = read(file([...sysex, 0, 0x99, 36, 100, ...marker, 120, 38, 90]))
  expect([...found.hits.keys()].filter((cell) => found.hits[cell])).toEqual([0, 4])
  expect(found.losses).toEqual([])
})

/** Kick, hat and snare on a channel from 0. */
const beat = (channel: number) => [0, 0x90 | channel, 36, 100, 0, 42, 90, 120, 38, 100, 120, 42, 80]

test('drums on another channel are found by their pitches, and told', () => {
  const found = read(file(beat(0)))
  expect(found.hits.reduce((sum, hit) => sum + hit)).toBe(4)
  expect(found.losses).toEqual([expect.stringContaining('no drums on channel 10')])
})

test('a channel or track that is chosen is read in place of channel 10', () => {
  const bytes = file([...beat(9), 0, 0x92, 38, 70])
  expect(readMidi(bytes, VOICES, GRID, 256, { channel: 3 }).hits.reduce((sum, hit) => sum + hit)).toBe(1)
  expect(readMidi(bytes, VOICES, GRID, 256, { track: 1, channel: 10 }).losses).toEqual([])
  expect(() => readMidi(bytes, VOICES, GRID, 256, { channel: 4 })).toThrow('no notes on channel 4')
  expect(read(bytes).parts).toEqual([
    { track: 1, name: '', channel: 3, notes: 1 }, { track: 1, name: '', channel: 10, notes: 4 },
  ])
})

test('a file without drums names its parts, so that one can be chosen', () => {
  let error = new MidiError('')
  try {
    read(file([0, 0x90, 60, 100, 0, 64, 100]))
  } catch (thrown) {
    error = thrown as MidiError
  }
  expect(error.message).toContain('track 1 on channel 1 (2 notes)')
  expect(error.parts).toEqual([{ track: 1, name: '', channel: 1, notes: 2 }])
})

test('of two hits in a cell the louder stays', () => {
  const found = read(file([0, 0x99, 36, 50, 10, 0x99, 35, 100]))
  expect(found.velocity[0]).toBeCloseTo(100 / 127, 6)
  expect(found.losses).toEqual([])
  expect(found.strokes.get(0)!.map(({ velocity }) => Math.round(velocity * 127))).toEqual([50])
})

test('a steady shift is taken out, kept beside the offsets, and written again', () => {
  const early = someGroove(4)
  early.offset.fill(-1 / 6, 0) // 20 ticks
  early.hits.fill(0, 0, 3)
  const found = read(writeMidi(early, VOICES, GRID))
  expect(found.shift).toBeCloseTo(-1 / 6, 2)
  expect(Math.max(...found.offset.map(Math.abs))).toBeLessThan(0.01)
  expect(found.hits).toEqual(early.hits)
  expect(writeMidi(found, VOICES, GRID)).toEqual(writeMidi(early, VOICES, GRID))
  const kept = readMidi(writeMidi(early, VOICES, GRID), VOICES, GRID, 256, { shift: 'keep' })
  expect(kept.shift).toBe(0)
  expect(kept.offset[early.hits.indexOf(1)]).toBeCloseTo(-1 / 6, 6)
})

test('a file of 300,000 notes is read', () => {
  const notes = Array.from({ length: 300_000 }, (_, i) => [30, 36 + 2 * (i % 2), 1 + (i % 127)]).flat()
  const found = read(file([0, 0x99, 42, 1, ...notes]))
  expect(found.bars).toBe(256)
})

test('a change of tempo ends what is read at its bar', () => {
  const bar = [0x8f, 0x00] // 1920 ticks
  const found = read(file([0, 0x99, 36, 100, ...bar, 0xff, 0x51, 3, 6, 0, 0, 0, 0x99, 36, 100]))
  expect(found.bars).toBe(1)
  expect(found.losses).toEqual([expect.stringContaining('1 bars after a change of tempo or metre')])
  expect(found.hasTempoChanges).toBe(true)
})

test('a tempo map can be followed as one tempo', () => {
  const bar = [0x8f, 0x00]
  const bytes = file([0, 0x99, 36, 100, ...bar, 0xff, 0x51, 3, 6, 0, 0, 0, 0x99, 36, 100])
  expect(readMidi(bytes, VOICES, GRID, 256, { tempoMap: 'flatten' })).toMatchObject({ bars: 2, losses: [] })
})

test.each([[2, 1], [8, 3]])('%i/2^%i is read as 4/4, and told', (beats, power) => {
  const found = read(file([0, 0xff, 0x58, 4, beats, power, 24, 8, 0, 0x99, 36, 100]))
  expect(found.losses).toEqual([expect.stringContaining('is read as 4/4')])
})

test('a tempo a tick in is that of the song', () => {
  expect(read(file([1, 0xff, 0x51, 3, 6, 0, 0, 0, 0x99, 36, 100]))).toMatchObject({ tempo: 152.59, losses: [] })
})

test('a file in a RIFF file is read', () => {
  const midi = file([0, 0x99, 36, 100])
  const text = (letters: string) => [...letters].map((letter) => letter.charCodeAt(0))
  const size = (bytes: number) => [bytes & 255, bytes >> 8, 0, 0]
  const riff = [...text('RIFF'), ...size(midi.length + 12), ...text('RMIDdata'), ...size(midi.length), ...midi]
  expect(read(Uint8Array.from(riff)).hits[0]).toBe(1)
})

test.each([
  ['nothing', new Uint8Array(0), 'empty file'],
  ['text', new TextEncoder().encode('hello there, this is text'), 'not a MIDI file'],
  ['another metre', file([0, 0xff, 0x58, 4, 3, 2, 24, 8, 0, 0x99, 36, 100]), '3/4'],
  ['no drums', file([]), 'no drum notes'],
  ['damage', file([0, 0x99, 36, 100, 0, 0xff, 0x51, 0x7f]), 'damaged'],
  ['frames', file([0, 0x99, 36, 100], 0, 0xe728), 'SMPTE'],
  ['a cut track', file([0, 0x99, 36, 100]).slice(0, -2), 'truncated'],
])('%s is refused', (_, bytes, message) => {
  expect(() => read(bytes)).toThrow(MidiError)
  expect(() => read(bytes)).toThrow(message)
})

test('no bytes make it fail otherwise', () => {
  const good = writeMidi(someGroove(1), VOICES, GRID)
  for (let i = 0; i < 2000; i++) {
    const [isCut, end, ...changes] = uniforms(3, HITS, 0, i, 8)
    const bad = good.slice(0, isCut < 0.3 ? Math.floor(end * good.length) : good.length)
    for (let j = 0; j < 6; j += 2) if (bad.length) bad[Math.floor(changes[j] * bad.length)] = Math.floor(changes[j + 1] * 256)
    try {
      read(bad)
    } catch (error) {
      expect(error).toBeInstanceOf(MidiError)
    }
  }
})

test('a change in bar 1 is named', () => {
  const bytes = file([0x83, 0x60, 0xff, 0x51, 3, 0x0a, 0, 0, 0, 0x99, 36, 100])
  expect(() => read(bytes)).toThrow('tempo or metre changes within the bar at bar 1')
})

test('strokes and the pedal are written and read back', () => {
  const groove = someGroove(6)
  groove.hits.fill(0)
  groove.velocity.fill(0)
  groove.offset.fill(0)
  for (const cell of [1, 62, 191]) [groove.hits[cell], groove.velocity[cell]] = [1, 100 / 127]
  groove.strokes.set(1, [{ offset: 0.25, velocity: 40 / 127, openness: NaN }])
  groove.strokes.set(191, [-0.25, -0.25].map((offset) => ({ offset, velocity: 50 / 127, openness: NaN }))) // two at one time
  groove.openness[62] = 1
  groove.openness[191] = 27 / 127
  const voices = VOICES.map((voice, number) => ({ ...voice, isHat: number === 2 }))
  const back = readMidi(writeMidi(groove, voices, GRID), voices, GRID, 256, { shift: 'keep' })
  expect([...back.hits.keys()].filter((cell) => back.hits[cell])).toEqual([1, 62, 191])
  const times = [...back.strokes].map(([cell, own]) => [cell, ...own.map(({ offset, velocity }) => [offset, Math.round(velocity * 127)])])
  expect(times.sort((a, b) => Number(a[0]) - Number(b[0]))).toEqual([[1, [0.25, 40]], [191, [-0.25, 50], [-0.25 + 1 / 120, 50]].map((item) => (
    Array.isArray(item) ? [Math.fround(item[0]), item[1]] : item
  ))])
  expect(back.openness[62]).toBe(1)
  expect(back.openness[191]).toBeCloseTo(27 / 127, 6)
  expect(back.openness[1]).toBeNaN()
})
