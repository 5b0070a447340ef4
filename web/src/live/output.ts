/** A MIDI output that plays the score: notes and clock with their times, and none that sticks. */

import { stepsPerQuarter, type Grid } from '../grids'
import { roundHalfEven } from '../midi/bars'
import type { Instrument } from '../transport'
import { ALL_NOTES_OFF, CLOCK, CONTINUE, CONTROL, NOTE_OFF, NOTE_ON, PEDAL, SONG_POSITION, START, STOP, TICKS_PER_QUARTER } from './messages'

/** Duration of a note in steps, and in seconds where nothing plays. */
const NOTE_STEPS = 0.5
const NOTE_S = 0.1
/** Milliseconds by which start comes before the first tick. */
const START_MS = 1
/** Where what waits cannot be taken back from the port, it is kept here until so shortly before its time; and looks at it. */
const HOLD_MS = 60
const LOOK_MS = 15
/** A note that comes in within so many milliseconds of the same one that went out is its echo; so many are remembered. */
const ECHO_MS = 60
const REMEMBERED = 32

/** `MIDIOutput`, as far as it is used; some browsers cannot clear what waits to be sent. */
export interface OutputPort {
  send(data: number[], timestamp?: number): void
  clear?(): void
}

/** What is asked of the output; read each time. */
export interface Sending {
  /** From 1. */
  channel: number
  /** Of each voice. */
  pitches: number[]
  sendsClock: boolean
  grid: Grid
  isSilent(voice: number): boolean
  /** Milliseconds of the page for a time of the sound. */
  toPage(seconds: number): number
}

interface Event {
  at: number
  /** Of those at one time: ends of notes, then the pedal, then notes. */
  order: number
  bytes: number[]
}

/** The last note of a pitch: when it ends, and whether its end was sent. */
interface Note {
  off: number
  isEnded: boolean
}

export class MidiOut implements Instrument {
  private port: OutputPort | null = null
  private channel = 0
  private events: Event[] = []
  private notes = new Map<number, Note>()
  private noteMs = NOTE_S * 1000
  private pedal = -1
  private isClockRunning = false
  /** Step that the clock is at next. */
  private following = -1
  private lastSent = 0
  /** What the port has not been given yet, in its order, and the time of the last that it was given. */
  private waiting: { bytes: number[]; at: number }[] = []
  private lastGiven = 0
  private timer: ReturnType<typeof setTimeout> | null = null
  private recent: { bytes: number[]; at: number }[] = []

  /** @param onTrouble is told why nothing can be sent */
  constructor(private readonly asked: Sending, private readonly onTrouble: (error: Error) => void) {}

  get isThere(): boolean {
    return this.port !== null
  }

  /** Sends to another port, or to none. */
  use(port: OutputPort | null): void {
    if (port === this.port) return
    this.silence()
    this.port = port
    this.forget()
    this.channel = this.asked.channel - 1
    if (port) this.endAll(performance.now(), false) // one that was unplugged may still hold notes
  }

  /** The port is gone: what it was told has no effect. */
  lose(): void {
    this.port = null
    this.forget()
  }

  private forget(): void {
    this.notes.clear()
    this.events = []
    this.waiting = []
    this.isClockRunning = false
    this.lastSent = this.lastGiven = 0
    this.pedal = -1
  }

  /** Whether a message that came in is one that went out, through a loop of the machine. */
  isEcho(data: Uint8Array, at: number): boolean {
    return this.recent.some((note) => Math.abs(note.at - at) < ECHO_MS && note.bytes.every((byte, place) => byte === data[place]))
  }

  step(step: number, at: number, length: number): void {
    const { asked } = this
    this.noteMs = NOTE_STEPS * length * 1000
    if (!this.port || step < 0) return
    if (!asked.sendsClock) this.stopClock()
    else this.sendClock(step, asked.toPage(at), length * 1000)
  }

  private sendClock(step: number, at: number, lengthMs: number): void {
    const perQuarter = stepsPerQuarter(this.asked.grid)
    const sixteenths = (step / perQuarter) * 4
    const isPlace = Number.isInteger(sixteenths)
    if (!this.isClockRunning && !isPlace) return // a place between two sixteenths cannot be told
    const position = [SONG_POSITION, sixteenths % 128, Math.floor(sixteenths / 128)]
    const before = at - START_MS
    if (!this.isClockRunning && step === 0) this.add(before, 0, [START])
    else if (!this.isClockRunning) {
      this.add(before, 0, position)
      this.add(before, 0, [CONTINUE])
    } else if (step !== this.following && isPlace) this.add(before, 0, position)
    this.isClockRunning = true
    this.following = step + 1
    const perStep = TICKS_PER_QUARTER / perQuarter
    for (let tick = Math.ceil(step * perStep); tick < (step + 1) * perStep; tick++) {
      this.add(at + (tick / perStep - step) * lengthMs, 0, [CLOCK])
    }
  }

  hit(voice: number, velocity: number, time: number, openness: number): void {
    const { asked } = this
    if (!this.port || asked.isSilent(voice)) return
    const at = asked.toPage(time)
    if (!Number.isNaN(openness)) this.add(at, 1, [CONTROL, PEDAL, roundHalfEven((1 - openness) * 127)])
    this.add(at, 2, [NOTE_ON, asked.pitches[voice], Math.min(Math.max(roundHalfEven(velocity * 127), 1), 127)])
  }

  settle(until: number): void {
    if (!this.port) return
    const { asked } = this
    if (asked.channel - 1 !== this.channel) {
      this.endAll(performance.now(), false) // ticks that wait are still to be sent
      this.channel = asked.channel - 1
    }
    const events = this.events.sort((a, b) => a.at - b.at || a.order - b.order)
    this.events = []
    for (const event of events) {
      this.endUntil(event.at)
      this.play(event)
    }
    this.endUntil(Math.max(asked.toPage(until), performance.now()))
  }

  private play({ at, bytes: [status, pitch, value] }: Event): void {
    if (status !== NOTE_ON) {
      if (status === CONTROL && value === this.pedal) return
      if (status === CONTROL) this.pedal = value
      const bytes = status === CONTROL ? [status | this.channel, pitch, value] : status === SONG_POSITION ? [status, pitch, value] : [status]
      this.send(bytes, at)
      return
    }
    this.end(pitch, at) // it begins anew
    this.send([NOTE_ON | this.channel, pitch, value], at)
    this.recent = [...this.recent.slice(1 - REMEMBERED), { bytes: [NOTE_ON | this.channel, pitch, value], at }]
    this.notes.set(pitch, { off: at + this.noteMs, isEnded: false })
  }

  /** Ends the notes whose time has come, in the order of their ends. */
  private endUntil(until: number): void {
    const due = [...this.notes].filter(([, { off, isEnded }]) => !isEnded && off <= until)
    for (const [pitch, { off }] of due.sort(([, a], [, b]) => a.off - b.off)) this.end(pitch, off)
  }

  private end(pitch: number, at: number): void {
    const note = this.notes.get(pitch)
    if (!note || note.isEnded) return
    this.notes.set(pitch, { off: at, isEnded: true })
    this.send([NOTE_OFF | this.channel, pitch, 0], at)
  }

  /** Ends all that sounds, takes back what waits, and stops the clock. */
  silence(): void {
    if (!this.port) return
    const now = performance.now()
    this.events = []
    this.endAll(now, true)
    this.stopClock()
  }

  /** Ends all notes, after those that wait where these are not taken back, and those that were missed. */
  private endAll(now: number, takesBack: boolean): void {
    if (takesBack) {
      this.waiting = []
      this.port?.clear?.()
      this.lastSent = this.port?.clear ? 0 : this.lastGiven
    }
    for (const [pitch, { off, isEnded }] of this.notes) {
      if (!isEnded || off > now) this.send([NOTE_OFF | this.channel, pitch, 0], now)
    }
    this.notes.clear()
    this.pedal = -1
    this.send([CONTROL | this.channel, ALL_NOTES_OFF, 0], now)
  }

  private stopClock(): void {
    if (!this.isClockRunning) return
    this.isClockRunning = false
    this.give([STOP], performance.now()) // at once, whatever waits
  }

  private add(at: number, order: number, bytes: number[]): void {
    this.events.push({ at, order, bytes })
  }

  /** Never before what was sent. */
  private send(bytes: number[], at: number): void {
    this.lastSent = Math.max(at, this.lastSent)
    this.waiting.push({ bytes, at: this.lastSent })
    this.release()
  }

  /** Gives the port what is near; all where it can be taken back, and where the page is hidden, as timers are then held back. */
  private release(): void {
    const until = this.port?.clear || document.hidden ? Infinity : performance.now() + HOLD_MS
    while (this.waiting.length && this.waiting[0].at <= until) {
      const { bytes, at } = this.waiting.shift()!
      this.lastGiven = at
      this.give(bytes, at)
    }
    if (!this.waiting.length || this.timer !== null) return
    this.timer = setTimeout(() => {
      this.timer = null
      this.release()
    }, LOOK_MS)
  }

  private give(bytes: number[], at: number): void {
    try {
      this.port?.send(bytes, at)
    } catch (error) {
      this.lose()
      this.onTrouble(error as Error)
    }
  }
}
