/** A rhythm in a MIDI file: taps on any pitch, a bass, a guitar, a melody; `hypermeter.io.midi.taps`. */

import { toldVelocities, type Rhythm } from '../follow'
import type { Grid } from '../grids'
import { chunksOf } from './bytes'
import { settingsOf } from './channels'
import { describeParts, partsOf, quoted, type Part } from './drums'
import { tableOf } from './file'
import { readMidi } from './read'
import { MidiError } from './types'

/** One voice for all pitches. */
const TAPS = [{ pitches: Array.from({ length: 128 }, (_, pitch) => pitch), write: 76 }]
/** Programs of basses, from 0. */
const BASSES = [32, 39]

/** A part that may be the rhythm. */
export interface TapPart extends Part { isDrums: boolean; isBass: boolean; pitches: number }

export interface ReadTaps {
  rhythm: Rhythm
  bars: number
  tempo: number
  /** A line for each choice that was made, and for each thing that was left out. */
  remarks: string[]
  parts: TapPart[]
  /** Which of the parts it is. */
  part: TapPart
}

export function tapPartsOf(bytes: Uint8Array): TapPart[] {
  const { notes, messages, names } = tableOf(chunksOf(bytes))
  const settings = settingsOf(notes, messages)
  return partsOf(notes, names).map((part) => {
    const own = [...notes.keys()].filter((i) => notes[i].track === part.track - 1 && notes[i].channel === part.channel! - 1)
    const isDrums = own.filter((i) => settings[i].isDrums).length * 2 >= own.length
    const isBassProgram = own.every((i) => settings[i].program >= BASSES[0] && settings[i].program <= BASSES[1])
    const isBass = !isDrums && (isBassProgram || part.name.toLowerCase().includes('bass'))
    return { ...part, isDrums, isBass, pitches: new Set(own.map((i) => notes[i].pitch)).size }
  })
}

/** The part that is the rhythm: the only one, the only one that is not drums, or the only bass. */
function choosePart(parts: TapPart[]): TapPart {
  let chosen = parts
  for (const narrower of [chosen.filter(({ isDrums }) => !isDrums), chosen.filter(({ isBass }) => isBass)]) {
    if (chosen.length !== 1 && narrower.length) chosen = narrower
  }
  if (!parts.length) throw new MidiError('no notes in it, expected a rhythm; choose another file')
  if (chosen.length !== 1) throw new MidiError(`${chosen.length} parts to follow in ${describeParts(parts)}`, 'part', parts)
  return chosen[0]
}

/**
 * The rhythm in a MIDI file, on a grid; of several notes on a step the loudest.
 *
 * @param place of the part in the file's; null finds the one that is the rhythm
 * @throws MidiError a file that cannot be read, of which no part or several may be the rhythm, or in another metre
 */
export function readTaps(bytes: Uint8Array, name: string, grid: Grid, mostBars: number, place: number | null = null): ReadTaps {
  const parts = tapPartsOf(bytes)
  const part = place === null ? choosePart(parts) : parts[place]
  const read = readMidi(bytes, TAPS, grid, mostBars, { track: part.track, channel: part.channel })
  const line = `the rhythm is track ${part.track}${part.name ? ` ${quoted(part.name)}` : ''} on channel ${part.channel}`
  return {
    rhythm: { name, isTap: read.hits, velocity: toldVelocities(read.hits, read.velocity), isOnOnePitch: part.pitches === 1 },
    bars: read.bars, tempo: read.tempo, remarks: [...(parts.length > 1 ? [line] : []), ...read.losses], parts, part,
  }
}
