/** Pads, machines and clock: what comes in and goes out, and what is set of it. */

import type { App } from '../app'
import { stepsPerQuarter } from '../grids'
import { midiVoices } from '../meta'
import { columnsOf, pitchesOf } from '../midi/maps'
import * as songs from '../song'
import type { Sound } from '../sound'
import type { FollowedTransport } from './followed'
import { type Kept, type Learnt, MOST_LATE_MS, readKept, writeKept } from './kept'
import { Learnings, titleOf } from './learning'
import { CONTROL, keyOf, NOTE_ON, PEDAL, readMoved, SYSTEM } from './messages'
import { Metronome } from './metronome'
import { MidiOut } from './output'
import { areSame, type Device, deviceOf, keyOfDevice, Ports } from './ports'
import { Recorder } from './recording'
import { TapTempo } from './tapping'

/** Milliseconds between looks at the clock that is followed. */
const LOOK_MS = 250
/** A followed tempo is that of the song where it differs by more than this share. */
const TEMPO_CHANGE = 0.005
/** Seconds of a nudge of one's own playing, and milliseconds of one against a clock. */
const NUDGE_S = 0.01
const NUDGE_MS = 5
/** Milliseconds for which a fader that was just learnt teaches nothing else. */
const SETTLED_MS = 600

const nameOf = ({ name }: Device) => `“${name}”`

export class Connections {
  kept: Kept = readKept()
  readonly ports = new Ports((changed) => this.portsChanged(changed))
  readonly recorder: Recorder
  /** Follows a clock. */
  followed: FollowedTransport | null = null
  /** Whether knobs are being learnt, and which control is waiting for one. */
  isLearning = false
  target: string | null = null
  private readonly out: MidiOut
  private readonly learnings = new Learnings()
  private readonly taps = new TapTempo()
  private columns = new Map<number, number>()
  private pitches: number[] = []
  /** How open the hi-hat's pedal is, of each device; where it told. */
  private readonly openness = new Map<string, number>()
  private lastLearnt = { key: '', at: -Infinity }
  private wasPlaying = false
  private wasLost = false
  private written = 0

  /**
   * @param startStep where it begins to play
   * @param onChange is told when anything of this is another
   */
  constructor(private readonly app: App, private readonly sound: Sound, private readonly startStep: () => number, private readonly onChange: () => void) {
    const connections = this
    this.out = new MidiOut({
      get channel() { return connections.kept.channel },
      get pitches() { return connections.pitches },
      get sendsClock() { return connections.kept.sendsClock && !connections.followed },
      get grid() { return app.song.grid },
      isSilent: (voice) => app.mixer.muted[voice],
      toPage: (seconds) => sound.time.toPage(seconds),
    }, (error) => app.say(`The MIDI output took no more: ${error.message}`))
    this.recorder = new Recorder(app, {
      get isQuantised() { return connections.kept.isQuantised },
      get isOverdub() { return connections.kept.isOverdub },
      get delayMs() { return connections.kept.delayMs },
      near: (milliseconds) => sound.near(milliseconds),
    })
    const metronome = new Metronome(() => sound.output, () => app.song.grid, () => this.kept.isClicking)
    sound.others.push(this.recorder, metronome, this.out)
    sound.isHeardElsewhere = () => this.out.isThere
    app.onChange(() => this.appChanged())
    addEventListener('pagehide', () => this.out.silence()) // no note sticks
    setInterval(() => this.look(), LOOK_MS)
    this.takeMaps()
  }

  /** Connects where the browser gives MIDI without asking and something is set. */
  async start(): Promise<void> {
    const { out, clockFrom, learnt } = this.kept
    const isUsed = out || clockFrom || Object.keys(learnt).length
    if (isUsed && (await this.ports.isAllowed())) await this.connect()
  }

  async connect(): Promise<void> {
    await this.ports.connect()
    this.apply()
  }

  set(change: Partial<Kept>): void {
    this.kept = { ...this.kept, ...change }
    writeKept(this.kept)
    this.takeMaps()
    this.apply()
    this.onChange()
  }

  private takeMaps(): void {
    const voices = midiVoices(this.app.meta)
    this.columns = columnsOf(voices, this.kept.padsMap)
    this.pitches = pitchesOf(voices, this.kept.outMap)
  }

  /** Opens the ports that are asked for, and closes the others. */
  private apply(): void {
    const { kept, ports } = this
    const output = ports.of('output').find((port) => areSame(deviceOf(port), kept.out))
    const use = () => { if (areSame(deviceOf(output!), this.kept.out)) this.out.use(output!) } // it may be another by now
    if (output) output.open().then(use, () => this.app.say(`${nameOf(kept.out!)} cannot be opened: another program may use it`))
    else if (!kept.out) this.out.use(null)
    for (const port of ports.of('input')) {
      const device = deviceOf(port)
      const isPads = kept.pads === true || areSame(device, kept.pads)
      const isClock = areSame(device, kept.clockFrom)
      if (!isPads && !isClock) {
        port.onmidimessage = null
        if (port.connection !== 'closed') void port.close()
        continue
      }
      port.onmidimessage = ({ data, timeStamp }) => { if (data) this.receive(data, timeStamp, device, isPads, isClock) }
      port.open().catch(() => this.app.say(`${nameOf(device)} cannot be opened: another program may use it`))
    }
    if (ports.isConnected && !!kept.clockFrom !== !!this.followed) this.follow()
  }

  private follow(): void {
    const { clockFrom } = this.kept
    this.followed = this.sound.follow(!!clockFrom, () => this.kept.lateMs)
    if (clockFrom) this.app.say(`Follows the clock of ${nameOf(clockFrom)}: press start there`)
    this.app.changed()
  }

  private portsChanged(changed?: { port: MIDIInput | MIDIOutput; isThere: boolean }): void {
    if (changed) {
      const { port, isThere } = changed
      const device = deviceOf(port)
      const isUsed = port.type === 'output' ? areSame(device, this.kept.out) : areSame(device, this.kept.clockFrom) || areSame(device, this.kept.pads === true ? device : this.kept.pads)
      if (isUsed) this.app.say(isThere ? `${nameOf(device)} is there, and in use` : `${nameOf(device)} is gone: the music goes on, and uses it when it is back`)
      if (port.type === 'output' && areSame(device, this.kept.out) && !isThere) this.out.lose()
      this.apply()
    }
    this.onChange()
  }

  // ---------------------------------------------------------------- what comes in

  private receive(data: Uint8Array, at: number, device: Device, isPads: boolean, isClock: boolean): void {
    if (isClock) this.followed?.receive(data, at)
    const moved = isPads && data[0] < SYSTEM ? readMoved(data) : null
    if (!moved || (areSame(device, this.kept.out) && this.out.isEcho(data, at))) return
    const key = keyOf(moved)
    if (this.isLearning && this.target && moved.share && !(key === this.lastLearnt.key && at - this.lastLearnt.at < SETTLED_MS)) {
      this.learn(key, device)
      return
    }
    if (key === this.lastLearnt.key) this.lastLearnt.at = at
    const name = this.learntOf(device)[key]
    if (name) this.learnings.move(name, moved)
    else if (!this.isLearning && (data[0] & 0xf0) === NOTE_ON && moved.share) this.tapPad(moved.number, moved.share, at, device)
    else if ((data[0] & 0xf0) === CONTROL && moved.number === PEDAL) this.openness.set(keyOfDevice(device), 1 - moved.share)
  }

  private tapPad(pitch: number, velocity: number, at: number, device: Device): void {
    const voice = this.columns.get(pitch)
    if (voice === undefined) return
    const openness = this.app.meta.hats.includes(voice) ? this.openness.get(keyOfDevice(device)) ?? NaN : NaN
    if (this.recorder.tap({ voice, velocity, openness }, at)) this.written++
    if (this.kept.isHeard) void this.sound.strike(voice, velocity, openness)
  }

  // ---------------------------------------------------------------- learning

  learntOf(device: Device): Learnt {
    return this.kept.learnt[keyOfDevice(device)] ?? {}
  }

  private learn(key: string, device: Device): void {
    const name = this.target!
    this.target = null
    this.lastLearnt = { key, at: -Infinity }
    this.set({ learnt: { ...this.kept.learnt, [keyOfDevice(device)]: { ...this.learntOf(device), [key]: name } } })
    this.app.say(`${titleOf(name)} is moved by ${key} of ${nameOf(device)}`)
  }

  forget(device: string, key: string): void {
    const { [key]: _gone, ...others } = this.kept.learnt[device] ?? {}
    const { [device]: _all, ...devices } = this.kept.learnt
    this.set({ learnt: Object.keys(others).length ? { ...devices, [device]: others } : devices })
  }

  // ---------------------------------------------------------------- recording, tempo, phase

  async record(): Promise<void> {
    const { app, sound, recorder, followed, kept } = this
    if (recorder.isOn) {
      this.endTake()
      return
    }
    if (!this.ports.isConnected) {
      app.say(this.ports.trouble ?? 'Connect MIDI first, and choose your pads')
      return
    }
    this.written = 0
    recorder.start()
    app.changed()
    if (followed && !sound.isPlaying) app.say(`Recording begins with the clock of ${nameOf(kept.clockFrom!)}`)
    else {
      const bars = sound.isPlaying ? 0 : kept.countIn
      app.say(bars ? `Recording after ${bars === 1 ? 'a bar' : `${bars} bars`} of clicks` : 'Recording')
      if (!sound.isPlaying && !(await sound.play(this.startStep(), bars * app.song.stepsPerBar))) recorder.stop()
      app.changed()
    }
  }

  private endTake(): void {
    this.recorder.stop()
    const { written } = this
    this.app.say(written ? `Recorded ${written} ${written === 1 ? 'hit' : 'hits'}; Undo takes the take back` : 'Nothing was played on the pads')
    this.onChange()
  }

  private appChanged(): void {
    const { isPlaying } = this.sound
    if (this.recorder.isOn && this.wasPlaying && !isPlaying) this.endTake()
    this.wasPlaying = isPlaying
    if (this.followed && this.followed.stepsPerQuarter !== stepsPerQuarter(this.app.song.grid)) this.follow()
  }

  /** @param at milliseconds of the page */
  tap(at: number): void {
    const { app } = this
    if (this.followed) {
      app.say('The tempo is that of the clock that is followed')
      return
    }
    const tempo = this.taps.tap(at)
    if (tempo === null) app.say('Tap on each beat')
    else {
      app.edit({ ...app.song, tempo: songs.clampTempo(tempo) }, 'tempo')
      app.say(`${app.song.tempo} beats a minute`)
    }
  }

  /** Plays a little later, or earlier: than the clock that is followed, or than before. */
  nudge(way: 1 | -1): void {
    const { app, kept } = this
    if (this.followed) {
      const lateMs = Math.max(-MOST_LATE_MS, Math.min(MOST_LATE_MS, kept.lateMs + way * NUDGE_MS))
      this.set({ lateMs })
      app.say(lateMs ? `${Math.abs(lateMs)} ms ${lateMs > 0 ? 'later' : 'earlier'} than the clock` : 'As the clock is')
    } else if (this.sound.isPlaying) {
      this.sound.nudge(way * NUDGE_S)
      app.say(`From here on ${NUDGE_S * 1000} ms ${way > 0 ? 'later' : 'earlier'}`)
    } else app.say('Nudge while it plays')
  }

  /** The clock that is followed, for people; empty where none is. */
  get clockLine(): string {
    const { followed, kept } = this
    if (!followed || !kept.clockFrom) return ''
    const tempo = `${followed.tempo.tempo.toFixed(1)} beats a minute`
    if (followed.isLost) return 'The clock stopped coming: the notes wait for it'
    return followed.tempo.isRunning ? tempo : 'Waits for start'
  }

  private look(): void {
    const { followed, app } = this
    if (!followed) return
    const { isLost, tempo } = followed
    if (isLost && !this.wasLost) app.say(`The clock of ${nameOf(this.kept.clockFrom!)} stopped coming: the notes wait for it`)
    this.wasLost = isLost
    const now = songs.clampTempo(Math.round(tempo.tempo * 10) / 10) // the jitter of the ticks must not reach the model
    if (tempo.isRunning && !isLost && Math.abs(now / app.song.tempo - 1) > TEMPO_CHANGE) {
      app.history.amend({ ...app.song, tempo: now })
      app.changed()
    }
    this.onChange()
  }
}
