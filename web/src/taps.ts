/** A rhythm to follow: from a MIDI file, or tapped on a key along with the bars that play. */

import type { App } from './app'
import { byId, element, setPressed, setText } from './dom'
import type { Between, Rhythm } from './follow'
import { MidiError, readTaps } from './midi'
import { sketch } from './sketch'
import * as songs from './song'
import type { Sound } from './sound'

const MAX_MIDI_BYTES = 5_000_000
/** Of the count that sounds while one taps: its first beat of a bar, and the others. */
const COUNT_LOUD = 0.7
const COUNT_SOFT = 0.35

const count = (number: number, what: string) => `${number} ${number === 1 ? what : `${what}s`}`

export class Taps {
  private rhythm: Rhythm | null = null
  private file: { name: string; bytes: Uint8Array } | null = null
  /** While one taps: the bars, what they loop was before, and what was tapped. */
  private tapping: { first: number; last: number; wasLoop: boolean; isTap: Uint8Array } | null = null

  constructor(private readonly app: App, private readonly sound: Sound) {
    const input = byId<HTMLInputElement>('rhythm-file')
    input.addEventListener('change', () => {
      if (input.files?.[0]) void this.open(input.files[0])
      input.value = ''
    })
    byId('open-rhythm').addEventListener('click', () => input.click())
    byId('tap').addEventListener('click', () => void (this.tapping ? this.finish() : this.begin()))
    byId('pad').addEventListener('pointerdown', (event) => {
      event.preventDefault()
      this.hit()
    })
    byId('follow').addEventListener('click', () => void this.follow())
    select('rhythm-part').addEventListener('change', () => this.read(Number(select('rhythm-part').value)))
    const voices = app.meta.kit.voices.map(({ name, label }) => element('option', { value: name }, label))
    select('answer').append(element('option', { value: 'loud' }, 'kick, snare, toms, crashes'), element('option', { value: 'all' }, 'any drum'), ...voices)
  }

  /** Whether taps are taken. */
  get isTapping(): boolean {
    return this.tapping !== null
  }

  /** A tap on the key. */
  hit(): void {
    const { app, sound, tapping } = this
    const [near] = sound.near(performance.now()).toSorted((one, other) => Math.abs(one.late) - Math.abs(other.late))
    if (!tapping || !near) return
    const steps = tapping.isTap.length
    const step = near.step - tapping.first * app.song.stepsPerBar
    tapping.isTap[((step % steps) + steps) % steps] = 1
    this.hear()
  }

  /** The file as a rhythm, or a line that says why it is none. */
  async open(file: File): Promise<void> {
    if (file.size > MAX_MIDI_BYTES) {
      this.app.say(`${file.name}: larger than ${MAX_MIDI_BYTES / 1e6} MB, not a rhythm`)
      return
    }
    try {
      this.file = { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) }
    } catch {
      this.app.say(`${file.name} cannot be read`)
      return
    }
    this.read(null)
  }

  /** @param place of the part that is the rhythm; null finds it */
  private read(place: number | null): void {
    const { app, file } = this
    if (!file) return
    try {
      const { rhythm, bars, tempo, remarks, parts, part } = readTaps(file.bytes, file.name, app.song.grid, songs.MOST_BARS, place)
      if (Math.abs(tempo - app.song.tempo) > 0.5) remarks.push(`it is at ${Math.round(tempo)}, the song stays at ${Math.round(app.song.tempo)}`)
      this.showParts(parts, parts.indexOf(part))
      this.set(rhythm)
      app.say([`${file.name}: a rhythm of ${count(bars, 'bar')}; Follow plays drums to it`, ...remarks].join('; '))
    } catch (error) {
      if (!(error instanceof MidiError)) throw error
      this.showParts(error.parts, -1)
      app.say(`${file.name}: ${error.message}`)
    }
  }

  private showParts(parts: { track: number; name: string; channel: number | null; notes: number | null }[], chosen: number): void {
    byId('rhythm-part-field').hidden = parts.length < 2
    const none = chosen < 0 ? [element('option', { value: '', disabled: '' }, 'choose')] : []
    select('rhythm-part').replaceChildren(...none, ...parts.map(({ track, name, channel, notes }, number) => (
      element('option', { value: String(number) }, `${name || `Track ${track}`}, channel ${channel}, ${count(notes ?? 0, 'note')}`)
    )))
    select('rhythm-part').selectedIndex = Math.max(chosen, 0)
  }

  private set(rhythm: Rhythm): void {
    this.rhythm = rhythm
    select('between').value = rhythm.isOnOnePitch ? 'silent' : 'free'
    this.app.changed()
  }

  // ---------------------------------------------------------------- tapping

  /** Plays the selected bars over and over, with a count in place of their drums. */
  private async begin(): Promise<void> {
    const { app, sound } = this
    if (!app.isSelected()) return
    const [first, last] = app.selection
    const { stepsPerBar, grid } = app.song
    const wasLoop = app.settings.loop
    app.set({ loop: true, endless: false })
    const [voice = 0] = app.meta.hats
    sound.instead = (step) => {
      if (step % grid.steps_per_beat) return []
      return [{ voice, velocity: step % stepsPerBar ? COUNT_SOFT : COUNT_LOUD, late: 0, openness: 0 }]
    }
    sound.stop()
    if (!(await sound.play(first * stepsPerBar))) {
      sound.instead = null
      app.set({ loop: wasLoop })
      return
    }
    this.tapping = { first, last, wasLoop, isTap: new Uint8Array((last - first) * stepsPerBar) }
    this.rhythm = null
    app.say('Tap the rhythm with T, or on the pad, as often as you like; then press Done')
  }

  /** What was tapped is the rhythm. */
  private finish(): void {
    const { app, sound, tapping } = this
    if (!tapping) return
    this.tapping = null
    sound.stop()
    sound.instead = null
    app.set({ loop: tapping.wasLoop })
    this.showParts([], -1)
    const taps = tapping.isTap.reduce((sum, tap) => sum + tap, 0)
    if (!taps) {
      app.say('Nothing was tapped')
      return
    }
    this.hear(tapping.isTap)
    app.select(tapping.first, tapping.last)
    app.say(`${count(taps, 'tap')} in ${count(tapping.last - tapping.first, 'bar')}; Follow plays drums to them`)
  }

  /** What is tapped so far, or in all: taps of one key have no velocity of their own. */
  private hear(isTap = this.tapping!.isTap): void {
    this.set({ name: 'taps', isTap: isTap.slice(), velocity: new Float64Array(isTap.length).fill(NaN), isOnOnePitch: true })
  }

  private follow(): Promise<boolean> {
    if (this.tapping) this.finish()
    const { rhythm } = this
    if (rhythm) return this.app.follow(rhythm, select('answer').value, select('between').value as Between)
    this.app.say('No rhythm yet: open a MIDI file with one, or select bars and tap along')
    return Promise.resolve(false)
  }

  show(): void {
    const { rhythm, tapping, app, sound } = this
    if (tapping && !sound.isPlaying) this.finish() // it was stopped elsewhere
    const isTapping = !!this.tapping
    setPressed(byId('tap'), isTapping)
    setText(byId('tap-label'), isTapping ? 'Done' : 'Tap along')
    byId('pad').hidden = !isTapping
    const taps = rhythm?.isTap.reduce((sum, tap) => sum + tap, 0) ?? 0
    const bars = Math.ceil((rhythm?.isTap.length ?? 0) / app.song.stepsPerBar)
    setText(byId('rhythm-name'), rhythm ? `${rhythm.name}: ${count(taps, 'tap')} in ${count(bars, 'bar')}` : 'none yet')
    const shown = byId('rhythm-sketch')
    if (this.sketched === rhythm) return
    this.sketched = rhythm
    const marks = rhythm ? [...rhythm.isTap.keys()].filter((step) => rhythm.isTap[step]) : []
    shown.replaceChildren(...(rhythm ? [sketch(marks.map((step) => (
      { step, row: 0, loud: Number.isNaN(rhythm.velocity[step]) ? 0.8 : rhythm.velocity[step], stream: 'high' }
    )), rhythm.isTap.length, 1)] : []))
  }

  private sketched: Rhythm | null = null
}

const select = (id: string) => byId<HTMLSelectElement>(id)
