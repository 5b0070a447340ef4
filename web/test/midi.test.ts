import { expect, test } from 'vitest'
import { MidiError, readMidi, writeMidi } from '../src/midi'
import { HITS, uniforms } from '../src/rng'
import { writeWav } from '../src/wav'

const VOICES = [{ pitches: [36, 35], write: 36 }, { pitches: [38, 40], write: 38 }, { pitches: [42], write: 42 }]

function someGroove(seed: number) {
  const cells = 3 * 64
  const [first, second, third] = [0, 1, 2].map((step) => uniforms(seed, HITS, 0, step, cells))
  const hits = Uint8Array.from(first, (u) => (u < 0.3 ? 1 : 0))
  hits[cells - 1] = 1
  const velocity = Float32Array.from(hits, (hit, cell) => hit * Math.ceil(second[cell] * 126) / 127)
  const offset = Float32Array.from(hits, (hit, cell) => hit * (cell < 3 ? third[cell] * 0.4 : third[cell] * 0.98 - 0.5))
  return { hits, velocity, offset, tempo: 133.25 }
}

const read = (bytes: Uint8Array, mostBars = 256) => readMidi(bytes, VOICES, 4, 4, 4, mostBars)

test.each([1, 2, 3])('what is written is read back, seed %i', (seed) => {
  const groove = someGroove(seed)
  const back = read(writeMidi(groove, VOICES, 4, 4, 4))
  expect(back.hits).toEqual(groove.hits)
  expect(back.tempo).toBeCloseTo(groove.tempo, 2)
  expect(back.bars).toBe(4)
  expect(back.losses).toEqual([])
  groove.hits.forEach((hit, cell) => {
    if (!hit) return
    expect(back.velocity[cell]).toBeCloseTo(groove.velocity[cell], 5)
    expect(Math.abs(back.offset[cell] - groove.offset[cell])).toBeLessThanOrEqual(1 / 120)
  })
})

test('silent bars at the end are written and read back', () => {
  const groove = someGroove(1)
  for (const cells of ['hits', 'velocity', 'offset'] as const) groove[cells].fill(0, 3 * 20)
  const bytes = writeMidi(groove, VOICES, 4, 4, 4)
  expect(read(bytes).bars).toBe(4)
  expect(read(bytes).hits).toEqual(groove.hits)
  expect(read(bytes, 3).bars).toBe(3)
})

test.each([[1920 * 3, 3], [1920 * 3 - 1, 1]])('a file that ends at tick %i has %i bars', (tick, bars) => {
  const delta = [0x80 | (tick >> 7), tick & 127]
  expect(read(file([0, 0x99, 36, 100, ...delta, 0xff, 1, 0])).bars).toBe(bars)
})

/** A file of one track. */
function file(events: number[], format = 0, division = 480): Uint8Array {
  const track = [...events, 0, 0xff, 0x2f, 0]
  return Uint8Array.from([
    0x4d, 0x54, 0x68, 0x64, 0, 0, 0, 6, 0, format, 0, 1, division >> 8, division & 255,
    0x4d, 0x54, 0x72, 0x6b, 0, 0, track.length >> 8, track.length & 255, ...track,
  ])
}

test('running status, unmapped pitches and other channels are understood', () => {
  const found = read(file([0, 0x99, 36, 100, 0, 38, 90, 0, 60, 90, 0, 0x90, 42, 90, 120, 0x89, 36, 0]))
  expect([...found.hits.subarray(0, 3)]).toEqual([1, 1, 0])
  expect(found.losses).toEqual(['no voice reads pitch 60'])
})

test('a file without channel 10 is read whole, and says so', () => {
  const found = read(file([0, 0x90, 36, 100]))
  expect(found.hits[0]).toBe(1)
  expect(found.losses[0]).toContain('channel 10')
})

test('of two hits in a cell the louder stays', () => {
  const found = read(file([0, 0x99, 36, 50, 10, 0x99, 35, 100]))
  expect(found.velocity[0]).toBeCloseTo(100 / 127, 6)
  expect(found.losses).toEqual(['1 hits dropped for a louder one in the same cell'])
})

test('a change of tempo ends what is read at its bar', () => {
  const bar = [0x8f, 0x00] // 1920 ticks
  const found = read(file([0, 0x99, 36, 100, ...bar, 0xff, 0x51, 3, 6, 0, 0, 0, 0x99, 36, 100]))
  expect(found.bars).toBe(1)
  expect(found.losses).toEqual(['1 hits after a change of tempo or metre'])
})

test.each([
  ['nothing', new Uint8Array(0), 'not a MIDI file'],
  ['text', new TextEncoder().encode('hello there, this is text'), 'not a MIDI file'],
  ['another metre', file([0, 0xff, 0x58, 4, 3, 2, 24, 8, 0, 0x99, 36, 100]), '3/4'],
  ['no drums', file([]), 'no drums'],
  ['damage', file([0, 0x99, 36, 100, 0, 0xff, 0x51, 0x7f]), 'damaged'],
  ['frames', file([0, 0x99, 36, 100], 0, 0xe728), 'seconds'],
])('%s is refused', (_, bytes, message) => {
  expect(() => read(bytes)).toThrow(MidiError)
  expect(() => read(bytes)).toThrow(message)
})

test('no bytes make it fail otherwise', () => {
  const good = writeMidi(someGroove(1), VOICES, 4, 4, 4)
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

test('a WAV file has its header and its samples', () => {
  const bytes = writeWav([Float32Array.of(0, 1, -1), Float32Array.of(0.5, 2, 0)], 44100)
  const view = new DataView(bytes.buffer)
  expect(bytes.length).toBe(44 + 12)
  expect([view.getUint16(22, true), view.getUint32(24, true), view.getUint32(40, true)]).toEqual([2, 44100, 12])
  expect([0, 2, 4, 6, 8, 10].map((at) => view.getInt16(44 + at, true))).toEqual([0, 16384, 32767, 32767, -32767, 0])
})

test.each([[[0x51, 3, 0x0a, 0, 0], 'tempo'], [[0x58, 4, 3, 2, 24, 8], 'metre']])('a change in bar 1 is named', (event, what) => {
  const bytes = file([0x83, 0x60, 0xff, ...event, 0, 0x99, 36, 100])
  expect(() => read(bytes)).toThrow(`The ${what} changes in bar 1`)
})
