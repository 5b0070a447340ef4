/** The dialog of sounds: the kit, and of each voice where it is, left or right, and a sound of one's own. */

import type { App } from './app'
import { byId, element, setText } from './dom'
import type { Keeper } from './keeper'
import { decoded, isSound, MOST_SAMPLE_BYTES, type SampleStore } from './samples'
import { KITS, type KitName, type OwnSample } from './settings'
import type { Sound } from './sound'
import { newPlace } from './song'
import { KIT_TITLES } from './sounds'

export class Soundboard {
  private readonly dialog = byId<HTMLDialogElement>('sounds')
  private readonly kit = byId<HTMLSelectElement>('kit')
  private readonly rows: { pan: HTMLInputElement; own: HTMLElement; drop: HTMLButtonElement }[]
  private readonly file = byId<HTMLInputElement>('sound-file')
  private chosen = 0

  constructor(private readonly app: App, private readonly sound: Sound, private readonly samples: SampleStore, private readonly keeper: Keeper) {
    this.kit.append(...KITS.map((name) => element('option', { value: name }, KIT_TITLES[name])))
    this.kit.addEventListener('change', () => app.setMixer({ kit: this.kit.value as KitName }))
    this.file.addEventListener('change', () => {
      const file = this.file.files?.[0]
      if (file) void this.take(this.chosen, file)
      this.file.value = ''
    })
    const list = byId('sound-list')
    this.rows = app.meta.kit.voices.map(({ label }, voice) => {
      const pan = element('input', { type: 'range', min: '-100', max: '100', step: '5', 'aria-label': `Where ${label} is, left or right`, title: 'Left or right' })
      const own = element('button', { title: `A sound of your own for ${label}; it can be dropped on its name too` })
      const drop = element('button', { class: 'quiet', 'aria-label': `${label}: the sound of the kit again`, title: 'The sound of the kit again' }, 'Kit')
      pan.addEventListener('input', () => app.setMixer({ pans: app.mixer.pans.with(voice, Number(pan.value) / 100) }))
      own.addEventListener('click', () => {
        this.chosen = voice
        this.file.click()
      })
      drop.addEventListener('click', () => {
        app.setMixer({ samples: app.mixer.samples.with(voice, null), pans: app.mixer.pans.with(voice, null) })
        own.focus()
      })
      list.append(element('li', {}, element('span', {}, label), pan, own, drop))
      return { pan, own, drop }
    })
    document.addEventListener('drop', (event) => this.drop(event), true)
    app.onChange(() => { if (this.dialog.open) this.fill() })
  }

  open(): void {
    this.fill()
    this.dialog.showModal()
    void this.prune()
  }

  private fill(): void {
    const { mixer } = this.app
    this.kit.value = mixer.kit
    this.rows.forEach(({ pan, own, drop }, voice) => {
      const value = String(Math.round((mixer.pans[voice] ?? this.sound.kit.panOf(voice)) * 100))
      if (pan.value !== value) pan.value = value
      setText(own, mixer.samples[voice]?.name ?? 'Own sound …')
      drop.disabled = !mixer.samples[voice] && mixer.pans[voice] === null
    })
  }

  /** A sound that is dropped on a voice, in the strip or the grid, becomes its sound; other files are left to others. */
  private drop(event: DragEvent): void {
    const file = event.dataTransfer?.files[0]
    const row = (event.target as Element).closest?.('.voice, #grid .row:not(.head), #sound-list li')
    if (!file || !isSound(file) || !row) return
    const voice = [...row.parentElement!.children].filter((node) => !node.matches('.head')).indexOf(row)
    event.preventDefault()
    void this.take(voice, file)
  }

  private async take(voice: number, file: File): Promise<void> {
    const { app, sound } = this
    const { label } = app.meta.kit.voices[voice]
    if (file.size > MOST_SAMPLE_BYTES) {
      app.say(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; a sound of a voice has at most ${MOST_SAMPLE_BYTES / 1e6}`)
      return
    }
    try {
      const bytes = await file.arrayBuffer()
      const { id } = newPlace('')
      sound.give(id, await decoded(bytes, file.name, sound.kit.rate))
      app.setMixer({ samples: app.mixer.samples.with(voice, { id, name: file.name } satisfies OwnSample) })
      app.say(`${label} sounds as ${file.name}; links do not hold it`)
      await this.samples.put(id, bytes).catch(() => app.say(`${label} sounds as ${file.name} until the page is closed: this browser keeps no sounds`))
    } catch (error) {
      app.say((error as Error).message)
    }
  }

  private async prune(): Promise<void> {
    const all = [this.app.mixer, ...(await this.keeper.list()).map(({ mixer }) => mixer)]
    const used = new Set(all.flatMap(({ samples }) => samples ?? []).flatMap((sample) => sample?.id ?? []))
    await this.samples.prune(used).catch(() => undefined)
  }
}
