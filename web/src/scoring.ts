/** A song as drum notation: of each bar the notes of hands and feet, in the lengths that are written. */

import { stepsPerPulse } from './grids'
import * as songs from './song'
import type { Song } from './song'

/** A note of one or several voices, or a rest. */
export interface Notated {
  /** Voices that are struck; none in a rest. */
  voices: number[]
  /** 4 is a quarter, 8 an eighth. */
  value: number
  isDotted: boolean
  /** Of each voice, whether it is struck hard or softly, or neither. */
  accents: ('hard' | 'soft' | null)[]
  /** Grace notes before it. */
  graces: number
}

/** Notes under one beam, or of one tuplet. */
export interface Group {
  notes: Notated[]
  /** So many in the time of so many; null where the beat is divided in twos. */
  tuplet: [number, number] | null
}

export interface NotatedBar {
  /** Null where they rest all of the bar. */
  hands: Group[] | null
  feet: Group[] | null
}

/** By how much strokes are apart from what is usual of their voice, and the least and most of them, in velocity. */
const APART = 0.15
const HARD = 0.8
const SOFT = 0.5

/** The velocity that is usual of each voice in a song: the median of its strokes. */
export function usualOf(song: Song): number[] {
  return Array.from({ length: song.voices }, (_, voice) => {
    const found = [...song.velocity].filter((_, cell) => cell % song.voices === voice && song.hits[cell]).sort((a, b) => a - b)
    return found[Math.floor(found.length / 2)] ?? 0
  })
}

/** @param areFeet of each voice @param usual velocity of each voice */
export function notatedBar(song: Song, bar: number, areFeet: boolean[], usual: number[]): NotatedBar {
  return { hands: part(song, bar, areFeet.map((is) => !is), usual), feet: part(song, bar, areFeet, usual) }
}

function part(song: Song, bar: number, isIn: boolean[], usual: number[]): Group[] | null {
  const { grid, stepsPerBar: size } = song
  const struck = Array.from({ length: size }, (_, step) => (
    isIn.flatMap((is, voice) => (is && song.hits[(bar * size + step) * song.voices + voice] ? [voice] : []))
  ))
  if (struck.every((voices) => !voices.length)) return null
  const parts = 2 ** Math.floor(Math.log2(grid.steps_per_beat))
  const tuplet: Group['tuplet'] = parts === grid.steps_per_beat ? null : [grid.steps_per_beat, parts]
  const length = tuplet ? grid.steps_per_beat : stepsPerPulse(grid)
  const groups: Group[] = []
  for (let start = 0; start < size; start += length) groups.push(group(song, bar, start, struck.slice(start, start + length), tuplet, parts, usual))
  return groups
}

function group(song: Song, bar: number, start: number, struck: number[][], tuplet: Group['tuplet'], parts: number, usual: number[]): Group {
  const { grid } = song
  const onsets = struck.flatMap((voices, step) => (voices.length ? [step] : []))
  // A beat with nothing but its first stroke, or nothing at all, is no tuplet.
  if (tuplet && onsets.every((step) => step === 0)) {
    return { notes: [note(song, bar, start, struck[0], grid.beat_unit, false, usual)], tuplet: null }
  }
  const stepValue = grid.beat_unit * parts
  const notes: Notated[] = []
  const places = [...new Set([0, ...onsets])]
  places.forEach((place, number) => {
    let left = (places[number + 1] ?? struck.length) - place
    let voices = struck[place]
    while (left > 0) { // what no single note fills is rests
      const [steps, isDotted] = longest(left)
      notes.push(note(song, bar, start + place, voices, (stepValue * (isDotted ? 1.5 : 1)) / steps, isDotted, usual))
      voices = []
      left -= steps
    }
  })
  return { notes, tuplet }
}

/** Steps of the longest note, with a dot or without, that is no longer. */
function longest(steps: number): [number, boolean] {
  const plain = 2 ** Math.floor(Math.log2(steps))
  return plain > 1 && plain * 1.5 <= steps ? [plain * 1.5, true] : [plain, false]
}

function note(song: Song, bar: number, step: number, voices: number[], value: number, isDotted: boolean, usual: number[]): Notated {
  const cells = voices.map((voice) => (bar * song.stepsPerBar + step) * song.voices + voice)
  const accents = cells.map((cell, place) => {
    const apart = song.velocity[cell] - usual[voices[place]]
    return apart >= APART && song.velocity[cell] >= HARD ? 'hard' : apart <= -APART && song.velocity[cell] <= SOFT ? 'soft' : null
  })
  const graces = Math.max(0, ...cells.map((cell) => (song.strokes.get(cell) ?? []).filter(({ offset }) => offset < song.offset[cell]).length))
  return { voices, value, isDotted, accents, graces: Math.min(graces, songs.MOST_STROKES - 1) }
}

// ------------------------------------------------------------------ places on the staff

const CROSS = '/x2'
/** By pitch of General MIDI: place on the staff, with the head where it is no plain one. */
const PLACES: Record<number, string> = {
  35: 'e/4', 36: 'f/4', 37: `c/5${CROSS}`, 38: 'c/5', 39: `c/5${CROSS}`, 40: 'c/5', 41: 'g/4', 43: 'a/4', 45: 'a/4', 47: 'd/5', 48: 'e/5', 50: 'e/5',
  42: `g/5${CROSS}`, 44: `d/4${CROSS}`, 46: 'g/5/x3', 49: `a/5${CROSS}`, 57: `b/5${CROSS}`, 55: `b/5${CROSS}`, 52: `b/5${CROSS}`, 51: `f/5${CROSS}`, 59: `f/5${CROSS}`, 53: `f/5${CROSS}`,
}
const FEET = new Set([35, 36, 44])
const ANY = `b/4${CROSS}`

/** @param pitches that voices write */
export function placesOf(pitches: number[]): { places: string[]; areFeet: boolean[] } {
  return { places: pitches.map((pitch) => PLACES[pitch] ?? ANY), areFeet: pitches.map((pitch) => FEET.has(pitch)) }
}

