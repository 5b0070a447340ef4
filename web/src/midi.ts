/** MIDI files, read and written as `hypermeter.read_midi` and `hypermeter.write_midi` do. */

export const TICKS_PER_QUARTER = 480
const DRUM_CHANNEL = 9

export interface MidiVoice {
  pitches: number[]
  write: number
}

export interface MidiGroove {
  hits: Uint8Array
  velocity: Float32Array
  offset: Float32Array
  tempo: number
}

export interface ReadMidi extends MidiGroove {
  bars: number
  /** A line for each thing that was left out. */
  losses: string[]
}

/** What is wrong with a file, for people. */
export class MidiError extends Error {}

// ------------------------------------------------------------------ writing

/**
 * A groove as a MIDI file of format 0: drums on channel 10, tempo and metre. It ends with the last step, silent or not.
 *
 * @param offset with swing in it, in steps
 */
export function writeMidi(
  groove: MidiGroove, voices: MidiVoice[], stepsPerQuarter: number, beatsPerBar: number, beatUnit: number,
): Uint8Array {
  const ticksPerStep = TICKS_PER_QUARTER / stepsPerQuarter
  const count = voices.length
  const events: { tick: number; order: number; bytes: number[] }[] = []
  for (let v = 0; v < count; v++) {
    const notes: { tick: number; velocity: number }[] = []
    for (let step = 0; step * count < groove.hits.length; step++) {
      const cell = step * count + v
      if (!groove.hits[cell]) continue
      const low = Math.max(Math.ceil((step - 0.5) * ticksPerStep), 0)
      const high = Math.ceil((step + 0.5) * ticksPerStep) - 1
      const tick = Math.min(Math.max(roundHalfEven((step + groove.offset[cell]) * ticksPerStep), low), high)
      notes.push({ tick, velocity: Math.min(Math.max(roundHalfEven(groove.velocity[cell] * 127), 1), 127) })
    }
    notes.forEach(({ tick, velocity }, i) => {
      const until = i + 1 < notes.length ? notes[i + 1].tick - tick : Infinity
      const duration = Math.max(1, Math.min(until, Math.floor(ticksPerStep / 2)))
      events.push({ tick, order: 1, bytes: [0x90 | DRUM_CHANNEL, voices[v].write, velocity] })
      events.push({ tick: tick + duration, order: 0, bytes: [0x80 | DRUM_CHANNEL, voices[v].write, 0] })
    })
  }
  events.sort((a, b) => a.tick - b.tick || a.order - b.order)
  const mspq = Math.round(60e6 / groove.tempo)
  const track: number[] = [
    0, 0xff, 0x51, 3, (mspq >> 16) & 255, (mspq >> 8) & 255, mspq & 255,
    0, 0xff, 0x58, 4, beatsPerBar, Math.round(Math.log2(beatUnit)), 24, 8,
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

/** As NumPy rounds. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

// ------------------------------------------------------------------ reading

interface Note { tick: number; pitch: number; velocity: number; channel: number }
interface Score { ticksPerQuarter: number; notes: Note[]; tempos: [number, number][]; metres: [number, number, number][]; end: number }

/**
 * The drums of a MIDI file on the grid, from its first bar to its last hit, or to its end where it ends on a bar line.
 *
 * Notes of channel 10 are read; in a file that has none there, all notes. Of several hits in a cell the loudest stays.
 * A file whose tempo or metre changes is read up to the bar of the change.
 */
export function readMidi(
  bytes: Uint8Array, voices: MidiVoice[], stepsPerQuarter: number, beatsPerBar: number, beatUnit: number, mostBars: number,
): ReadMidi {
  const score = parse(bytes)
  const losses: string[] = []
  let notes = score.notes.filter((note) => note.channel === DRUM_CHANNEL)
  if (!notes.length && score.notes.length) {
    notes = score.notes
    losses.push('nothing on channel 10, so all channels were read as drums')
  }
  const metre = score.metres.filter(([tick]) => tick === 0).at(-1) ?? [0, 4, 4]
  if (metre[1] !== beatsPerBar || metre[2] !== beatUnit) {
    throw new MidiError(`The file is in ${metre[1]}/${metre[2]}, this model plays ${beatsPerBar}/${beatUnit}.`)
  }
  const ticksPerStep = score.ticksPerQuarter / stepsPerQuarter
  const ticksPerBar = (ticksPerStep * stepsPerQuarter * 4 * beatsPerBar) / beatUnit
  const tempo = score.tempos.filter(([tick]) => tick === 0).at(-1)?.[1] ?? 120
  const changes = [
    ...score.tempos.filter(([tick, bpm]) => tick > 0 && Math.abs(bpm - tempo) > 0.005).map(([tick]) => ({ tick, what: 'tempo' })),
    ...score.metres.filter(([tick, beats, unit]) => tick > 0 && (beats !== metre[1] || unit !== metre[2])).map(([tick]) => ({ tick, what: 'metre' })),
  ].sort((a, b) => a.tick - b.tick)
  const slack = Math.max(1, ticksPerStep / 8)
  const barsBefore = changes.length ? Math.floor((changes[0].tick + slack) / ticksPerBar) : Infinity
  const end = barsBefore * ticksPerBar
  const columns = new Map<number, number>()
  voices.forEach((voice, v) => voice.pitches.forEach((pitch) => columns.set(pitch, v)))
  const stepsPerBar = Math.round(ticksPerBar / ticksPerStep)
  const read: { step: number; v: number; velocity: number; offset: number }[] = []
  const unmapped = new Map<number, number>()
  let [late, tooLong] = [0, 0]
  for (const note of notes) {
    const step = Math.floor(note.tick / ticksPerStep + 0.5)
    if (step * ticksPerStep >= end) { late++; continue }
    if (step >= mostBars * stepsPerBar) { tooLong++; continue }
    const v = columns.get(note.pitch)
    if (v === undefined) { unmapped.set(note.pitch, (unmapped.get(note.pitch) ?? 0) + 1); continue }
    read.push({ step, v, velocity: note.velocity / 127, offset: note.tick / ticksPerStep - step })
  }
  if (!read.length && late) {
    throw new MidiError(`The ${changes[0].what} changes in bar ${barsBefore + 1}: only bars before a change are read, and none of them has drums.`)
  }
  if (!read.length) throw new MidiError('The file has no drums of this kit.')
  let bars = Math.floor(Math.max(...read.map(({ step }) => step)) / stepsPerBar) + 1
  const until = Math.min(score.end, end)
  const whole = Math.round(until / ticksPerBar)
  if (Math.abs(until - whole * ticksPerBar) < 0.75) bars = Math.max(bars, Math.min(whole, mostBars))
  const cells = bars * stepsPerBar * voices.length
  const groove = { hits: new Uint8Array(cells), velocity: new Float32Array(cells), offset: new Float32Array(cells) }
  let dropped = 0
  for (const { step, v, velocity, offset } of read) {
    const cell = step * voices.length + v
    if (groove.hits[cell]) dropped++
    if (groove.velocity[cell] >= velocity) continue
    groove.hits[cell] = 1
    groove.velocity[cell] = velocity
    groove.offset[cell] = Math.min(offset, 0.499)
  }
  if (unmapped.size) losses.push(`no voice reads pitch ${[...unmapped.keys()].sort((a, b) => a - b).join(', ')}`)
  if (dropped) losses.push(`${dropped} hits dropped for a louder one in the same cell`)
  if (late) losses.push(`${late} hits after a change of tempo or metre`)
  if (tooLong) losses.push(`${tooLong} hits after bar ${mostBars}`)
  return { ...groove, tempo, bars, losses }
}

function parse(bytes: Uint8Array): Score {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const text = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4))
  if (bytes.length < 14 || text(0) !== 'MThd') throw new MidiError('This is not a MIDI file.')
  const division = view.getUint16(12)
  if (division & 0x8000 || !division) throw new MidiError('The times in the file are in seconds (SMPTE), not in beats.')
  const score: Score = { ticksPerQuarter: division, notes: [], tempos: [], metres: [], end: 0 }
  let at = 8 + view.getUint32(4)
  while (at + 8 <= bytes.length) {
    const end = Math.min(at + 8 + view.getUint32(at + 4), bytes.length)
    if (text(at) === 'MTrk') track(bytes, at + 8, end, score)
    at = end
  }
  return score
}

function track(bytes: Uint8Array, at: number, end: number, score: Score): void {
  const byte = () => {
    if (at >= end) throw new MidiError('The MIDI file is damaged.')
    return bytes[at++]
  }
  const number = () => {
    let value = 0
    for (let i = 0; i < 4; i++) {
      const next = byte()
      value = (value << 7) | (next & 127)
      if (next < 128) return value
    }
    throw new MidiError('The MIDI file is damaged.')
  }
  let [tick, status] = [0, 0]
  while (at < end) {
    tick += number()
    if (bytes[at] & 0x80) status = byte()
    if (status === 0xff) {
      const kind = byte()
      const size = number()
      if (at + size > end) throw new MidiError('The MIDI file is damaged.')
      if (kind === 0x51 && size >= 3) {
        const mspq = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2]
        if (mspq) score.tempos.push([tick, Math.round(60e8 / mspq) / 100])
      }
      if (kind === 0x58 && size >= 2) score.metres.push([tick, bytes[at], 2 ** bytes[at + 1]])
      if (kind === 0x2f) {
        score.end = Math.max(score.end, tick)
        return
      }
      at += size
    } else if (status === 0xf0 || status === 0xf7) {
      at += number()
    } else if (status < 0x80 || status > 0xef) {
      throw new MidiError('The MIDI file is damaged.')
    } else {
      const first = byte()
      const second = (status & 0xe0) === 0xc0 ? 0 : byte()
      if ((status & 0xf0) === 0x90 && second > 0) {
        score.notes.push({ tick, pitch: first & 127, velocity: second & 127, channel: status & 15 })
      }
    }
  }
}
