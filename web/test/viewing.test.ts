import { expect, test } from 'vitest'
import { beatsFor } from '../src/beats'
import { stepsPerPulse } from '../src/grids'
import type { Meta } from '../src/meta'
import { openingSong } from '../src/opening'
import { bars } from '../src/song'
import { columnsIn, fitting, partName, stepsInView, type View, WHOLE, withStep } from '../src/viewing'

const grid = (beats: number, unit = 4, perBeat = 4) => ({ steps_per_beat: perBeat, beats_per_bar: beats, bars_per_phrase: 4, beat_unit: unit })

test('whole bars are in view where they have room, else parts of whole pulses', () => {
  expect(fitting(grid(4), 64, 4)).toEqual({ bars: 4, parts: 1 })
  expect(fitting(grid(12, 8, 2), 64, 4)).toEqual({ bars: 2, parts: 1 })
  expect(fitting(grid(4), 20, 4)).toEqual({ bars: 1, parts: 1 })
  expect(fitting(grid(4), 10, 4)).toEqual({ bars: 1, parts: 2 })
  expect(fitting(grid(12, 8, 2), 8, 4)).toEqual({ bars: 1, parts: 4 })
  expect(fitting(grid(2, 4, 24), 3, 4)).toEqual({ bars: 1, parts: 2 }) // a pulse is not cut
})

test('parts are on pulses, and together they are the bar', () => {
  for (const each of [grid(4), grid(5), grid(7, 8, 2), grid(6, 8, 2), grid(3, 4, 3)]) {
    const size = each.steps_per_beat * each.beats_per_bar
    for (const columns of [6, 8, 10]) {
      const { parts } = fitting(each, columns, 1)
      let next = 3 * size
      for (let part = 0; part < parts; part++) {
        const { first, count } = stepsInView({ first: 3, bars: 1, part, parts }, each)
        expect([first, first % size % stepsPerPulse(each)]).toEqual([next, 0])
        expect(count).toBeGreaterThan(0)
        next += count
      }
      expect(next).toBe(4 * size)
    }
  }
})

test('as many columns fit as leave cells of 24 pixels', () => {
  expect(columnsIn(212, grid(4))).toBe(8)
  expect(columnsIn(212, grid(7, 8, 2))).toBe(7) // more gaps
  expect(columnsIn(0, grid(4))).toBe(1)
})

test('a step is brought into view, and a view that has it stays the same', () => {
  const halves: View = { first: 0, bars: 1, part: 0, parts: 2 }
  expect(withStep(halves, grid(4), 7)).toBe(halves)
  expect(withStep(halves, grid(4), 40)).toEqual({ first: 2, bars: 1, part: 1, parts: 2 })
  expect(withStep(WHOLE, grid(4), 16 * 5)).toEqual({ ...WHOLE, first: 4 })
  expect([partName(WHOLE), partName({ ...halves, part: 1 }), partName({ ...halves, parts: 3 })]).toEqual(['', ', half 2', ', part 1'])
})

const kit = { voices: ['kick', 'snare', 'closed_hat'].map((name) => ({ name })) }
const meta = (serves_every_grid: boolean) => (
  { kit, grid: grid(4), grids: [grid(4), grid(6, 8, 2), grid(3, 4, 3)], serves_every_grid } as unknown as Meta
)

test('there are five beats, of a model of one metre those in it, and voices that a kit has not are left out', () => {
  expect(beatsFor(meta(true)).map(({ name }) => name)).toEqual(['Funk rock', 'House', 'Bossa', 'Jazz waltz', 'Afro 6/8'])
  const [first, ...others] = beatsFor(meta(false))
  expect([first.song.tempo, first.song.swing, others.length]).toEqual([104, 0.15, 2])
  expect([bars(first.song), first.song.hits.length]).toEqual([4, 4 * 16 * 3])
  expect(first.song.velocity[0]).toBeCloseTo(0.95)
})

test('a new song has a beat in its metre', () => {
  expect(openingSong(meta(true), grid(6, 8, 2)).hits).toEqual(beatsFor(meta(true))[4].song.hits)
  const five = openingSong(meta(true), grid(5))
  expect([bars(five), five.hits[0], five.hits[3 * 4 * 1 + 1]]).toEqual([4, 1, 1])
})
