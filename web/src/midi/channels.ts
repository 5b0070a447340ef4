/** What GM, GM2, GS and XG messages make of the channels of a file: `hypermeter.io.midi.channels`. Counted from 0. */

/** The channel of drums in General MIDI. */
export const GM_DRUMS = 9

const RHYTHM_BANK = 120 // GM2
const MELODY_BANK = 121
const XG_DRUM_BANKS = [126, 127]
const CHANNELS = Array.from({ length: 16 }, (_, channel) => channel)

/** A note-on. */
export interface Note { tick: number; track: number; channel: number; pitch: number; velocity: number }

/** A message that sets up channels: the value of controller 0, a program, or the bytes of a system exclusive message. */
export type Message = { tick: number; track: number; channel: number } & (
  { kind: 'bank' | 'program'; data: number } | { kind: 'sysex'; data: Uint8Array }
)

/** How a note is played. */
export interface Setting { isDrums: boolean; program: number }

/** The state of a synthesiser: it begins as General MIDI has it. */
class Channels {
  readonly banks = CHANNELS.map(() => 0)
  private readonly partIsDrums = CHANNELS.map((part) => part === GM_DRUMS)
  private readonly partChannels = [...CHANNELS]
  /** Null where the bank does not decide. */
  private readonly bankIsDrums: (boolean | null)[] = CHANNELS.map(() => null)

  constructor(private readonly isGs = false) {}

  isDrums(channel: number): boolean {
    return this.bankIsDrums[channel] ?? CHANNELS.some((part) => this.partIsDrums[part] && this.partChannels[part] === channel)
  }

  /** Puts the bank in force that was selected before a program change. */
  setProgram(channel: number): void {
    const bank = this.banks[channel]
    const byBank = bank === RHYTHM_BANK || XG_DRUM_BANKS.includes(bank) ? true : bank === MELODY_BANK ? false : null
    this.bankIsDrums[channel] = this.isGs ? null : byBank
  }

  private setPart(part: number, mode: number | undefined, channel: number | undefined): void {
    if (mode !== undefined) {
      this.partIsDrums[part] = mode > 0
      if (this.partChannels[part] < 16) this.bankIsDrums[this.partChannels[part]] = null
    }
    if (channel !== undefined) this.partChannels[part] = channel
  }

  /** The state after a system exclusive message: this, or a new one after a reset. */
  receive(message: Uint8Array): Channels {
    const has = (at: number, ...bytes: number[]) => bytes.every((byte, i) => message[at + i] === byte)
    if (has(0, 0x7e) && (has(2, 9, 1) || has(2, 9, 3))) return new Channels()
    if (has(0, 0x41) && has(2, 0x42, 0x12)) {
      const values = message.subarray(7, -2) // a checksum and F7 follow
      if (has(4, 0x40, 0, 0x7f)) return new Channels(true)
      if (has(4, 0x40) && message.length > 6 && message[5] >> 4 === 1) {
        const block = message[5] & 15
        const part = block === 0 ? GM_DRUMS : block < 10 ? block - 1 : block
        this.setPart(part, values[0x15 - message[6]], values[0x02 - message[6]])
      }
    }
    if (has(0, 0x43) && message[1] >> 4 === 1 && has(2, 0x4c)) {
      const values = message.subarray(6, -1)
      if (has(3, 0, 0, 0x7e)) return new Channels()
      if (has(3, 8) && message.length > 5 && message[4] < 16) {
        this.setPart(message[4], values[0x07 - message[5]], values[0x04 - message[5]])
      }
    }
    return this
  }
}

/** The programs of a channel that were sent at one tick: by track, the last sent comes last. */
interface Programs { tick: number; byTrack: Map<number, number> }

/**
 * The setting of each note. Messages of a tick count before its notes, in the order of tracks. A program holds for all
 * tracks of its channel; of several at one tick, that of the note's own track counts, else the last.
 */
export function settingsOf(notes: Note[], messages: Message[]): Setting[] {
  const pending = [...messages].sort((a, b) => a.tick - b.tick)
  const programs: Programs[] = CHANNELS.map(() => ({ tick: 0, byTrack: new Map() }))
  const settings = new Array<Setting>(notes.length)
  let [channels, at] = [new Channels(), 0]
  const order = [...notes.keys()].sort((a, b) => notes[a].tick - notes[b].tick)
  for (const number of order) {
    const note = notes[number]
    for (; at < pending.length && pending[at].tick <= note.tick; at++) {
      const message = pending[at]
      if (message.kind === 'sysex') channels = channels.receive(message.data)
      else if (message.kind === 'bank') channels.banks[message.channel] = message.data
      else {
        channels.setProgram(message.channel)
        const before = programs[message.channel]
        const byTrack = before.tick === message.tick ? before.byTrack : new Map<number, number>()
        byTrack.delete(message.track)
        programs[message.channel] = { tick: message.tick, byTrack: byTrack.set(message.track, message.data) }
      }
    }
    const { byTrack } = programs[note.channel]
    const program = byTrack.get(note.track) ?? [...byTrack.values()].at(-1) ?? 0
    settings[number] = { isDrums: channels.isDrums(note.channel), program }
  }
  return settings
}
