/** MIDI messages: their bytes, and which knob or pad one moves, as in `hypermeter.share.live.control_map`. */

export const NOTE_OFF = 0x80
export const NOTE_ON = 0x90
export const CONTROL = 0xb0
export const SONG_POSITION = 0xf2
export const CLOCK = 0xf8
export const START = 0xfa
export const CONTINUE = 0xfb
export const STOP = 0xfc
/** Messages from this status on belong to no channel. */
export const SYSTEM = 0xf0
/** Controllers: the hi-hat's pedal, 0 open and 127 pressed; the end of all notes. */
export const PEDAL = 4
export const ALL_NOTES_OFF = 123

export const TICKS_PER_QUARTER = 24
/** Song positions count sixteenths. */
export const TICKS_PER_SONG_POSITION = 6

/** A message with the time at which it came, in milliseconds of the page's clock. */
export interface Message {
  data: Uint8Array
  at: number
}

/** A knob, a pad or the like, and how far it is moved, in [0, 1]: a note as far as it is loud, and 0 where it ends. */
export interface Moved {
  kind: 'cc' | 'note' | 'program' | 'bend' | 'pressure'
  /** Programs count from 1; 0 where it has none. */
  number: number
  /** From 1. */
  channel: number
  share: number
}

export function readMoved([status, first, second]: Uint8Array): Moved | null {
  const channel = (status & 0x0f) + 1
  switch (status & 0xf0) {
    case NOTE_OFF: return { kind: 'note', number: first, channel, share: 0 }
    case NOTE_ON: return { kind: 'note', number: first, channel, share: second / 127 }
    case CONTROL: return { kind: 'cc', number: first, channel, share: second / 127 }
    case 0xc0: return { kind: 'program', number: first + 1, channel, share: 1 }
    case 0xd0: return { kind: 'pressure', number: 0, channel, share: first / 127 }
    case 0xe0: return { kind: 'bend', number: 0, channel, share: (first + 128 * second) / 16383 }
    default: return null
  }
}

/** As a map of `hypermeter play` writes it: cc 64 channel 10. */
export function keyOf({ kind, number, channel }: Moved): string {
  return `${kind}${kind === 'bend' || kind === 'pressure' ? '' : ` ${number}`} channel ${channel}`
}
