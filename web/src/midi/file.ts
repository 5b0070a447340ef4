/** What is read of a MIDI file: `hypermeter.io.midi.content`. */

import { chunksOf, eventsOf, type Chunks, type MidiEvent } from './bytes'
import { settingsOf, type Message, type Note } from './channels'
import { chooseDrums, describeParts, partsOf, quoted, tracksNamed, type Part, type PartOptions } from './drums'
import { decodeName } from './encodings'
import { MidiError } from './types'

/** All in the order of ticks. */
export interface MidiFile {
  ticksPerQuarter: number
  /** Notes that several tracks have at one tick once. */
  drums: Note[]
  /** Ticks and quarters per minute. */
  tempos: [number, number][]
  /** Ticks and values of controller 4, the pedal of the hi-hat, on the channels of the drums. */
  pedal: [number, number][]
  /** Ticks, beats and beat units. */
  signatures: [number, number, number][]
  /** Tick at which the last track ends. */
  end: number
  /** How the drums were found, where that is not plain, and what is in the file twice. */
  remarks: string[]
  /** Of tracks; of some, nothing. */
  names: string[]
  /** All that has notes. */
  parts: Part[]
}

/** The events of all tracks that the reader needs, in the order of tracks. */
interface Table {
  notes: Note[]
  messages: Message[]
  pedal: { tick: number; channel: number; value: number }[]
  names: string[]
  metas: MidiEvent[]
  end: number
}

/** Controller of the hi-hat's pedal: 0 is open, 127 is pressed. */
const PEDAL = 4
const TRACK_NAME = 0x03
const TEMPO = 0x51
const SIGNATURE = 0x58

export function loadMidi(bytes: Uint8Array, options: PartOptions): MidiFile {
  let chunks = chunksOf(bytes)
  let table = tableOf(chunks)
  let { track = null } = options
  let parts = partsOf(table.notes, table.names)
  if (chunks.format === 2 && chunks.tracks.length > 1) {
    parts = table.names.map((name, i) => ({ track: i + 1, name, channel: null, notes: null }))
    chunks = patternOf(chunks, parts, track)
    table = tableOf(chunks)
    track = null
  }
  const { isDrums, line } = chooseDrums(table.notes, settingsOf(table.notes, table.messages), table.names, { ...options, track })
  const drums = table.notes.filter((_, i) => isDrums[i])
  if (!drums.length) throw new MidiError(`no drum notes on channel 10; it has ${describeParts(parts)}`, 'part', parts)
  const doubles = doublesOf(drums)
  const channels = new Set(drums.map(({ channel }) => channel))
  const remarks = [...chunks.remarks, ...(line ? [line] : [])]
  if (doubles.size) remarks.push(`${doubles.size} hits are there twice, at the same tick; each is read once`)
  const metas = table.metas.sort((a, b) => a.tick - b.tick)
  return {
    ticksPerQuarter: chunks.ticksPerQuarter,
    drums: drums.filter((note) => !doubles.has(note)).sort((a, b) => a.tick - b.tick),
    tempos: metas.filter(({ kind }) => kind === TEMPO).map(({ tick, data }) => [tick, 60e6 / ((data[0] << 16) | (data[1] << 8) | data[2])]),
    pedal: table.pedal.filter(({ channel }) => channels.has(channel)).sort((a, b) => a.tick - b.tick).map(({ tick, value }) => [tick, value]),
    signatures: metas.filter(({ kind }) => kind === SIGNATURE).map(({ tick, data }) => [tick, data[0], data[1] < 8 ? 2 ** data[1] : 0]),
    end: table.end,
    remarks,
    names: table.names,
    parts,
  }
}

/** The pattern of a file of format 2 that the user names. */
function patternOf(chunks: Chunks, patterns: Part[], track: number | string | null): Chunks {
  const chosen = track === null ? [] : [...tracksNamed(track, patterns.map(({ name }) => name))]
  if (chosen.length === 1) return { ...chunks, format: 0, tracks: [chunks.tracks[chosen[0]]] }
  const listed = patterns.map(({ track: number, name }) => (name ? `${number} ${quoted(name)}` : `${number}`)).join(', ')
  throw new MidiError(`MIDI format 2 with ${patterns.length} patterns (${listed}); choose one`, 'part', patterns)
}

export function tableOf({ tracks }: Chunks): Table {
  const table: Table = { notes: [], messages: [], pedal: [], names: [], metas: [], end: 0 }
  tracks.forEach((track, number) => {
    table.names.push('')
    for (const event of eventsOf(track)) {
      addTo(table, event, number)
      if (event.tick > table.end) table.end = event.tick
    }
  })
  return table
}

/** Adds an event, where the reader needs it. Of data bytes above 127, velocities become 127; other events are left out. */
function addTo(table: Table, { tick, status, kind, data }: MidiEvent, track: number): void {
  const channel = status & 15
  const event = status & 0xf0
  if (event === 0x90 && data[0] < 128 && data[1]) {
    table.notes.push({ tick, track, channel, pitch: data[0], velocity: Math.min(data[1], 127) })
  } else if (event === 0xc0 && data[0] < 128) table.messages.push({ tick, track, channel, kind: 'program', data: data[0] })
  else if (event === 0xb0 && data[0] === 0 && data[1] < 128) table.messages.push({ tick, track, channel, kind: 'bank', data: data[1] })
  else if (event === 0xb0 && data[0] === PEDAL && data[1] < 128) table.pedal.push({ tick, channel, value: data[1] })
  else if (status === 0xf0) table.messages.push({ tick, track, channel: 0, kind: 'sysex', data })
  else if (kind === TRACK_NAME && !table.names[track]) table.names[track] = decodeName(data)
  else if ((kind === TEMPO && data.length >= 3) || (kind === SIGNATURE && data.length >= 2)) table.metas.push({ tick, status, kind, data })
}

/** Notes that another track has too at their tick and pitch, as loud or louder; those of one track are further strokes. */
function doublesOf(notes: Note[]): Set<Note> {
  const byPlace = new Map<number, Map<number, Note[]>>()
  for (const note of notes) {
    const place = note.tick * 128 + note.pitch
    const tracks = byPlace.get(place) ?? new Map<number, Note[]>()
    byPlace.set(place, tracks.set(note.track, [...(tracks.get(note.track) ?? []), note]))
  }
  const doubles = new Set<Note>()
  for (const tracks of byPlace.values()) {
    if (tracks.size < 2) continue
    const sorted = [...tracks.values()].map((own) => own.sort((a, b) => b.velocity - a.velocity))
    for (let rank = 0; rank < Math.max(...sorted.map((own) => own.length)); rank++) {
      const same = sorted.map((own) => own[rank]).filter((note) => note !== undefined)
      same.sort((a, b) => b.velocity - a.velocity).slice(1).forEach((note) => doubles.add(note))
    }
  }
  return doubles
}
