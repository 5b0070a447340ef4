/** The strip beside the grid: each voice's name, volume, mute, solo and lock. */

import type { App } from './app'
import { element, setAttribute, setPressed } from './dom'
import type { Meta } from './meta'
import { isHeard } from './settings'
import * as songs from './song'

export type Stream = 'low' | 'mid' | 'high'

const BASS_DRUMS = new Set([35, 36])
const SKINS = new Set([37, 38, 39, 40, 41, 43, 45, 47, 48, 50, 60, 61, 62, 63, 64, 65, 66])

/** Which of the three colours a voice has: bass drums, skins, and the rest. */
export function streamsOf(meta: Meta): Stream[] {
  return meta.kit.voices.map(({ write }) => (BASS_DRUMS.has(write) ? 'low' : SKINS.has(write) ? 'mid' : 'high'))
}

/** For narrow screens: closed hat is c hat. */
function short(label: string): string {
  const words = label.split(' ')
  return [...words.slice(0, -1).map((word) => word[0]), words.at(-1)].join(' ')
}

const LOCK = '<svg viewBox="0 0 20 20" aria-hidden="true"><rect x="4.5" y="9" width="11" height="8" rx="1.500" /><path d="M7 9V6.500a3 3 0 0 1 6 0V9" /></svg>'
const SOUND = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M3.500 8v4h3l4 3.500v-11L6.500 8z" /><path class="waves" d="M13.500 7.500a3.500 3.500 0 0 1 0 5M15.500 5a7 7 0 0 1 0 10" /><path class="cross" d="m13.500 8 4 4m0-4-4 4" /></svg>'

export class VoiceStrip {
  private readonly rows: { mute: HTMLElement; solo: HTMLElement; lock: HTMLElement; volume: HTMLInputElement; row: HTMLElement }[]

  constructor(
    list: HTMLElement, private readonly app: App, audition: (voice: number, velocity: number) => void,
  ) {
    const streams = streamsOf(app.meta)
    this.rows = app.meta.kit.voices.map(({ label }, voice) => {
      const name = element(
        'button', { class: 'name', 'aria-label': `Hear ${label}`, title: `Hear ${label}` },
        element('span', { class: 'wide' }, label), element('span', { class: 'short' }, short(label)),
      )
      const volume = element('input', { type: 'range', min: '0', max: '125', step: '1', 'aria-label': `Volume of ${label}` })
      const mute = element('button', { class: 'icon mute', 'aria-label': `Mute ${label}`, 'aria-pressed': 'false', title: 'Mute' })
      const solo = element('button', { class: 'icon solo', 'aria-label': `Solo ${label}`, 'aria-pressed': 'false', title: 'Solo: this voice, and others that are solo, alone' }, 'S')
      const lock = element('button', { class: 'icon lock', 'aria-label': `Lock ${label}`, 'aria-pressed': 'false', title: 'Lock: the model leaves this voice as it is' })
      mute.innerHTML = SOUND
      lock.innerHTML = LOCK
      name.addEventListener('click', () => audition(voice, songs.DEFAULT_VELOCITY))
      volume.addEventListener('input', () => {
        app.setMixer({ volumes: app.mixer.volumes.with(voice, Number(volume.value) / 100) })
      })
      mute.addEventListener('click', () => {
        app.setMixer({ muted: app.mixer.muted.with(voice, !app.mixer.muted[voice]) })
      })
      solo.addEventListener('click', () => {
        app.setMixer({ soloed: app.mixer.soloed.with(voice, !app.mixer.soloed[voice]) })
      })
      lock.addEventListener('click', () => app.edit(songs.setVoiceLock(app.song, voice, !app.song.lockedVoices[voice])))
      const row = element('li', { class: `voice ${streams[voice]}` }, name, volume, mute, solo, lock)
      list.append(row)
      return { row, mute, solo, lock, volume }
    })
    list.addEventListener('keydown', (event) => this.key(event))
    list.addEventListener('focusin', ({ target }) => this.rove(this.rows.findIndex(({ row }) => row.contains(target as Node))))
    this.rove(0)
  }

  /** Of all voices one is reached by Tab: the one that was last. */
  private rove(voice: number): void {
    this.rows.forEach(({ row }, other) => { for (const node of row.children) setAttribute(node, 'tabindex', other === voice ? '0' : '-1') })
  }

  private key(event: KeyboardEvent): void {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key]
    const target = event.target as HTMLElement
    const voice = this.rows.findIndex(({ row }) => row.contains(target))
    if (!by || voice < 0 || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault() // a slider would move; left and right move it
    const place = [...this.rows[voice].row.children].indexOf(target)
    const next = this.rows[Math.max(0, Math.min(voice + by, this.rows.length - 1))].row
    ;(next.children[place] as HTMLElement).focus()
  }

  show(): void {
    this.rows.forEach(({ row, mute, solo, lock, volume }, voice) => {
      const { mixer, song } = this.app
      const { volumes, muted, soloed } = mixer
      setPressed(mute, muted[voice])
      setPressed(lock, song.lockedVoices[voice])
      setPressed(solo, soloed[voice])
      row.classList.toggle('muted', !isHeard(mixer, voice))
      const value = String(Math.round(volumes[voice] * 100))
      if (volume.value !== value) volume.value = value
    })
  }
}
