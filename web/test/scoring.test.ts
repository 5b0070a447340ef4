import { expect, test } from 'vitest'
import { notatedBar, placesOf, usualOf } from '../src/scoring'
import * as songs from '../src/song'

const IN_FOUR = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }

/** The hands of a bar, as text: value, a dot, r for a rest, groups by |, tuplets in brackets. */
function hands(grid: songs.Song['grid'], steps: number[]): string | null {
  const song = songs.setHits(songs.emptySong(2, grid, 1), steps.map((step) => step * 2 + 1), 1)
  const { hands: groups } = notatedBar(song, 0, [true, false], usualOf(song))
  return groups?.map(({ notes, tuplet }) => {
    const text = notes.map(({ voices, value, isDotted }) => `${value}${isDotted ? '.' : ''}${voices.length ? '' : 'r'}`).join(' ')
    return tuplet ? `(${tuplet.join(':')} ${text})` : text
  }).join(' | ') ?? null
}

/** The length of a bar in whole notes. */
function lengthOf(text: string): number {
  return text.split(' | ').reduce((sum, group) => {
    const tuplet = /^\((\d+):(\d+) (.*)\)$/.exec(group)
    const notes = (tuplet ? tuplet[3] : group).split(' ')
    const length = notes.reduce((all, note) => all + (note.includes('.') ? 1.5 : 1) / parseInt(note, 10), 0)
    return sum + (tuplet ? (length * Number(tuplet[2])) / Number(tuplet[1]) : length)
  }, 0)
}

test('strokes are written as long as it is to the next one in the beat', () => {
  expect(hands(IN_FOUR, [0, 4, 8, 12])).toBe('4 | 4 | 4 | 4')
  expect(hands(IN_FOUR, [0, 2, 3, 4, 5, 6, 7, 11])).toBe('8 16 16 | 16 16 16 16 | 8.r 16 | 4r')
  expect(hands(IN_FOUR, [1, 4, 7])).toBe('16r 8. | 8. 16 | 4r | 4r')
  expect(hands(IN_FOUR, [])).toBeNull()
})

test('beats of three parts are tuplets where they have more than their first stroke', () => {
  const grid = { ...IN_FOUR, steps_per_beat: 3 }
  expect(hands(grid, [0, 3, 5, 7])).toBe('4 | (3:2 4 8) | (3:2 8r 4) | 4r')
  expect(hands({ ...grid, steps_per_beat: 6 }, [0, 1, 2, 3, 4, 5, 6, 11])).toBe('(6:4 16 16 16 16 16 16) | (6:4 4 16r 16) | 4r | 4r')
})

test('pulses of three beats are written as one, and what no note fills is rests', () => {
  const grid = { steps_per_beat: 2, beats_per_bar: 6, bars_per_phrase: 4, beat_unit: 8 }
  expect(hands(grid, [0, 2, 4, 6])).toBe('8 8 8 | 4.')
  expect(hands(grid, [0, 5])).toBe('4 16r 16 | 4.r')
})

test('a bar is as long as its metre says, whatever is struck', () => {
  for (const grid of [IN_FOUR, { ...IN_FOUR, beats_per_bar: 5 }, { ...IN_FOUR, steps_per_beat: 6 }, { ...IN_FOUR, steps_per_beat: 2, beats_per_bar: 7, beat_unit: 8 }, { ...IN_FOUR, steps_per_beat: 2, beats_per_bar: 12, beat_unit: 8 }]) {
    const size = grid.steps_per_beat * grid.beats_per_bar
    for (let seed = 1; seed < 60; seed++) {
      const steps = Array.from({ length: size }, (_, step) => step).filter((step) => ((step + 1) * seed * 7919) % 13 < 5)
      const text = hands(grid, steps)
      if (text) expect(lengthOf(text)).toBeCloseTo(grid.beats_per_bar / grid.beat_unit, 10)
    }
  }
})

test('accents, ghost notes and grace notes are told, and feet are apart', () => {
  let song = songs.setHits(songs.setHits(songs.emptySong(2, IN_FOUR, 1), [1], 1, 0.95), [17], 1, 0.7)
  song = songs.setStrokes(songs.setHits(song, [8, 9], 1, 0.3), 9, 3)
  const usual = usualOf(song)
  expect(usual).toEqual([0.3, 0.7].map(Math.fround))
  const { hands: above, feet } = notatedBar(song, 0, [true, false], usual)
  expect(above!.flatMap(({ notes }) => notes).filter(({ voices }) => voices.length).map(({ accents, graces }) => [accents[0], graces])).toEqual([['hard', 0], ['soft', 2], [null, 0]])
  expect(feet!.flatMap(({ notes }) => notes).flatMap(({ voices }) => voices)).toEqual([0])
  expect(placesOf([36, 38, 46, 99])).toEqual({ places: ['f/4', 'c/5', 'g/5/x3', 'b/4/x2'], areFeet: [true, false, false, false] })
})
