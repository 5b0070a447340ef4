/** MIDI files, written as `hypermeter.write_midi` writes them. */

import { stepsPerQuarter, type Grid } from '../grids'
import { roundHalfEven } from './bars'
import type { MidiGroove, MidiVoice } from './types'

export const TICKS_PER_QUARTER = 480
const DRUM_CHANNEL = 9
/** Controller of the hi-hat's pedal: 0 is open, 127 is pressed. */
const PEDAL = 4

/**
 * A groove as a MIDI file of format 0: drums on channel 10, tempo and metre. It ends with the last step, silent or not.
 *
 * @param offset with swing in it, in steps
 */
export function writeMidi(groove: MidiGroove, voices: MidiVoice[], grid: Grid): Uint8Array {
  const ticksPerStep = TICKS_PER_QUARTER / stepsPerQuarter(grid)
  const count = voices.length
  const events: { tick: number; order: number; bytes: number[] }[] = []
  const pedal: { tick: number; value: number }[] = []
  for (let v = 0; v < count; v++) {
    const notes: { tick: number; velocity: number; openness: number }[] = []
    const high: number[] = []
    for (let step = 0; step * count < groove.hits.length; step++) {
      const cell = step * count + v
      if (!groove.hits[cell]) continue
      const own = step + groove.shift
      const low = Math.ceil((own - 0.5) * ticksPerStep)
      const last = Math.ceil((own + 0.5) * ticksPerStep) - 1
      const hit = { offset: groove.offset[cell], velocity: groove.velocity[cell], openness: groove.openness[cell] }
      const strokes = [hit, ...(groove.strokes.get(cell) ?? [])].sort((a, b) => a.offset - b.offset || a.velocity - b.velocity)
      for (const { offset, velocity, openness } of strokes) {
        const tick = Math.max(Math.min(Math.max(roundHalfEven((own + offset) * ticksPerStep), low), last), 0)
        notes.push({ tick, velocity: Math.min(Math.max(roundHalfEven(velocity * 127), 1), 127), openness })
        high.push(last)
      }
    }
    spread(notes, high)
    notes.forEach(({ tick, velocity, openness }, i) => {
      const until = i + 1 < notes.length ? notes[i + 1].tick - tick : Infinity
      const duration = Math.max(1, Math.min(until, Math.floor(ticksPerStep / 2)))
      if (!Number.isNaN(openness)) pedal.push({ tick, value: roundHalfEven((1 - openness) * 127) })
      events.push({ tick, order: 2, bytes: [0x90 | DRUM_CHANNEL, voices[v].write, velocity] })
      events.push({ tick: tick + duration, order: 0, bytes: [0x80 | DRUM_CHANNEL, voices[v].write, 0] })
    })
  }
  pedal.sort((a, b) => a.tick - b.tick).forEach(({ tick, value }, i) => {
    if (i === 0 || value !== pedal[i - 1].value) events.push({ tick, order: 1, bytes: [0xb0 | DRUM_CHANNEL, PEDAL, value] })
  })
  events.sort((a, b) => a.tick - b.tick || a.order - b.order)
  const mspq = Math.round(60e6 / groove.tempo)
  const track: number[] = [
    0, 0xff, 0x51, 3, (mspq >> 16) & 255, (mspq >> 8) & 255, mspq & 255,
    0, 0xff, 0x58, 4, grid.beats_per_bar, Math.round(Math.log2(grid.beat_unit)), 24, 8,
    0, 0xff, 0x03, 5, ...ascii('drums'),
  ]
  let now = 0
  for (const { tick, bytes } of events) {
    track.push(...variableLength(tick - now), ...bytes)
    now = tick
  }
  const end = Math.round((groove.hits.length / count) * ticksPerStep)
  track.push(...variableLength(Math.max(end - now, 0)), 0xff, 0x2f, 0)
  return Uint8Array.from([
    ...ascii('MThd'), ...word(6, 4), ...word(0, 2), ...word(1, 2), ...word(TICKS_PER_QUARTER, 2),
    ...ascii('MTrk'), ...word(track.length, 4), ...track,
  ])
}

/** Strokes of a voice at one tick are put a tick later each, as far as their cells have ticks; as Python does. */
function spread(notes: { tick: number }[], high: number[]): void {
  let least = -Infinity
  const later = notes.map(({ tick }, rank) => {
    least = Math.max(least, tick - rank)
    return Math.min(least + rank, high[rank])
  })
  let most = Infinity
  for (let rank = notes.length - 1; rank >= 0; rank--) {
    most = Math.min(most, later[rank] - rank)
    notes[rank].tick = Math.max(most + rank, 0)
  }
}

function ascii(text: string): number[] {
  return Array.from(text, (letter) => letter.charCodeAt(0))
}

function word(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => (value >> (8 * (bytes - 1 - i))) & 255)
}

function variableLength(value: number): number[] {
  const bytes = [value & 127]
  while ((value >>= 7) > 0) bytes.unshift((value & 127) | 128)
  return bytes
}

