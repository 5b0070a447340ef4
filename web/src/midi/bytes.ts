/** The chunks of a MIDI file, and the events of its tracks: `hypermeter.io.midi.chunks` and `events`. */

import { MidiError } from './types'

/** A channel event, a system exclusive one (0xf0, 0xf7), or a meta event (0xff); `data` is without status and size. */
export interface MidiEvent {
  tick: number
  status: number
  /** Of a meta event, else 0. */
  kind: number
  data: Uint8Array
}

/** A file as its header says; tracks by their bytes, at least one; a remark if there are fewer than it says. */
export interface Chunks { format: number; ticksPerQuarter: number; tracks: Uint8Array[]; remarks: string[] }

const META = 0xff
const END_OF_TRACK = 0x2f
/** Bytes of data after a status of each kind of system message. */
const SYSTEM_BYTES: Record<number, number> = { 0xf1: 1, 0xf2: 2, 0xf3: 1 }

/** The chunks of a MIDI file, or of one in a RIFF file. @throws MidiError one that is no MIDI file, or is cut off */
export function chunksOf(bytes: Uint8Array): Chunks {
  if (!bytes.length) throw new MidiError('empty file, expected MIDI')
  const midi = isText(bytes, 0, 'RIFF') ? inRiff(bytes) : bytes
  if (midi.length < 14 || !isText(midi, 0, 'MThd')) throw new MidiError('not a MIDI file (no MThd header)')
  const view = new DataView(midi.buffer, midi.byteOffset, midi.byteLength)
  const [format, count, division] = [view.getUint16(8), view.getUint16(10), view.getInt16(12)]
  if (format > 2) throw new MidiError(`MIDI format ${format}, expected 0, 1 or 2`)
  if (division < 1) throw new MidiError(`${division ? 'SMPTE time' : '0 ticks per quarter'}, expected ticks per quarter`)
  const tracks: Uint8Array[] = []
  for (let at = 8 + view.getUint32(4); tracks.length < count && at + 8 <= midi.length;) {
    const end = at + 8 + view.getUint32(at + 4)
    if (end > midi.length) throw new MidiError('truncated MIDI file; get a whole copy')
    if (isText(midi, at, 'MTrk')) tracks.push(midi.subarray(at + 8, end))
    at = end
  }
  if (!tracks.length) throw new MidiError('truncated MIDI file (no tracks); get a whole copy')
  const remarks = tracks.length < count ? [`the header announces ${count} tracks, the file has ${tracks.length}`] : []
  return { format, ticksPerQuarter: division, tracks, remarks }
}

function inRiff(bytes: Uint8Array): Uint8Array {
  const begin = Math.max(indexOfText(bytes, 'MThd'), 4)
  const size = new DataView(bytes.buffer, bytes.byteOffset + begin - 4).getUint32(0, true)
  return bytes.subarray(begin, begin + size)
}

function isText(bytes: Uint8Array, at: number, text: string): boolean {
  return at + text.length <= bytes.length && [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0))
}

function indexOfText(bytes: Uint8Array, text: string): number {
  let at = bytes.indexOf(text.charCodeAt(0))
  while (at >= 0 && !isText(bytes, at, text)) at = bytes.indexOf(text.charCodeAt(0), at + 1)
  return at
}

/** Yields the events of a track up to its end, which is among them. @throws MidiError a damaged track */
export function* eventsOf(bytes: Uint8Array): Generator<MidiEvent> {
  let [at, tick, running] = [0, 0, 0]
  const block = (size: number) => {
    if (at + size > bytes.length) throw new MidiError('damaged MIDI file (an event is cut off); get a whole copy')
    at += size
    return bytes.subarray(at - size, at)
  }
  const number = () => {
    let value = 0
    for (let i = 0; i < 4; i++) {
      const [next] = block(1)
      value = (value << 7) | (next & 127)
      if (next < 128) break
    }
    return value
  }
  while (at < bytes.length) {
    tick += number()
    let [status] = block(1)
    if (status === META || status === 0xf0 || status === 0xf7) {
      const kind = status === META ? block(1)[0] : 0
      const size = number()
      yield { tick, status, kind, data: block(size) }
      if (kind === END_OF_TRACK) return
    } else if (status > 0xf0) {
      block(SYSTEM_BYTES[status] ?? 0)
    } else {
      if (status < 0x80) { // running status, which events of no channel leave as it is
        at--
        status = running
      }
      if (!status) throw new MidiError('damaged MIDI file (an event is cut off); get a whole copy')
      running = status
      yield { tick, status, kind: 0, data: block(status >= 0xc0 && status < 0xe0 ? 1 : 2) }
    }
  }
}
