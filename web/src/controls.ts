/** The buttons and fields around the grid. */

import type { App } from './app'
import { isWithin } from './bounds'
import { byId, element, setAttribute, setPressed, setText } from './dom'
import { nameOf } from './grids'
import { named } from './placing'
import { type Mode, MODES } from './settings'
import { isDragged } from './sequencer'
import * as songs from './song'
import { partName, stepsInView } from './viewing'

const HINTS: Record<Mode, string> = {
  write: 'Click or drag to write. Shift locks.',
  lock: 'Click cells that the drummer must not change.',
  loud: 'Drag a hit up or down: how hard it is struck.',
  timing: 'Drag a hit left or right: how early or late it is.',
  strokes: 'Click a hit for a flam, a drag, a ruff, and a single stroke again.',
  chance: 'Drag a hit down: how often it is played.',
}
const TO_CONTINUE = [2, 4, 8, 16]

/** What buttons do that is not the app's alone. */
export interface Actions {
  togglePlay(): void
  setVolume(): void
  open(): void
  saveMidi(): void
  saveWav(): void
  showSounds(): void
  showNotation(): void
  share(): void
  showSongs(): void
  showKeys(): void
  setEndless(on: boolean): void
}

export class Controls {
  constructor(private readonly app: App, actions: Actions) {
    this.fillSelect('style', 'any')
    this.fillSelect('section', 'any')
    const click = (id: string, action: () => unknown) => byId(id).addEventListener('click', () => void action())
    click('undo', () => app.undo())
    click('redo', () => app.redo())
    click('open', actions.open)
    click('save-midi', actions.saveMidi)
    click('save-wav', actions.saveWav)
    click('show-sounds', actions.showSounds)
    click('show-notation', actions.showNotation)
    click('share', actions.share)
    click('songs', actions.showSongs)
    click('help', actions.showKeys)
    click('play', actions.togglePlay)
    click('mixer', () => setPressed(byId('mixer'), document.body.classList.toggle('mixing')))
    click('loop', () => app.set({ loop: !app.settings.loop }))
    click('endless', () => actions.setEndless(!app.settings.endless))
    click('earlier', () => app.turn(-1))
    click('later', () => app.turn(1))
    for (const mode of MODES) click(`mode-${mode}`, () => app.set({ mode }))
    for (const bars of TO_CONTINUE) click(`bars-${bars}`, () => app.set({ bars }))
    click('continue', () => app.continue())
    click('fill-in', () => app.fillIn())
    click('fill-bar', () => app.fillBar())
    click('vary', () => app.vary())
    click('busier', () => app.busier(1))
    click('calmer', () => app.busier(-1))
    click('roll', () => app.edit({ ...app.song, roll: (app.song.roll + 1) % (songs.MOST_ROLL + 1) }))
    click('stop', () => app.busy?.stop.abort())
    click('dice', () => app.set({ seed: Math.floor(Math.random() * 1e6) }))
    this.fields(actions)
  }

  private fields(actions: Actions): void {
    const { app } = this
    const input = (id: string, change: (value: number) => void) => {
      const node = byId<HTMLInputElement>(id)
      node.addEventListener('input', () => {
        const value = Number(node.value)
        if (node.value !== '' && Number.isFinite(value)) change(value)
      })
      node.addEventListener('change', () => app.history.seal())
    }
    const tempo = byId<HTMLInputElement>('tempo')
    tempo.addEventListener('change', () => {
      const value = songs.clampTempo(Number(tempo.value) || app.song.tempo)
      app.edit({ ...app.song, tempo: value }, 'tempo') // a knob that is turned is undone as one
      tempo.value = String(value)
    })
    input('swing', (value) => app.edit({ ...app.song, swing: value / 100 }, 'swing'))
    input('volume', (value) => {
      app.volume = value / 100
      actions.setVolume()
      app.changed()
    })
    input('temperature', (temperature) => app.set({ temperature }))
    input('guidance', (guidance) => app.set({ guidance }))
    input('strength', (value) => app.set({ strength: value / 100 }))
    input('seed', (value) => { if (isWithin('seed', value)) app.set({ seed: value }) })
    for (const kind of ['style', 'section'] as const) {
      const node = byId<HTMLSelectElement>(kind)
      node.addEventListener('change', () => app.set({ [kind]: Number(node.value) }))
    }
  }

  private fillSelect(kind: 'style' | 'section', open: string): void {
    const names = this.app.meta.labels?.[kind] ?? []
    const node = byId<HTMLSelectElement>(kind)
    node.append(element('option', { value: '0' }, open), ...names.map((name, i) => element('option', { value: String(i + 1) }, name)))
    node.disabled = !names.length
  }

  show(isPlaying: boolean): void {
    const { app } = this
    const { settings, song, busy, selection, view } = app
    setText(byId('song-metre'), nameOf(song.grid))
    byId<HTMLInputElement>('swing').disabled = !songs.maySwing(song)
    byId<HTMLButtonElement>('undo').disabled = !app.history.canUndo
    byId<HTMLButtonElement>('redo').disabled = !app.history.canRedo
    byId('play').classList.toggle('playing', isPlaying)
    setText(byId('play-label'), isPlaying ? 'Stop' : 'Play')
    setPressed(byId('loop'), settings.loop)
    setPressed(byId('endless'), settings.endless)
    for (const mode of MODES) setPressed(byId(`mode-${mode}`), settings.mode === mode)
    setText(byId('mode-hint'), HINTS[settings.mode])
    byId('roll').hidden = settings.mode !== 'chance' || !song.chances.size
    byId('grid').classList.toggle('dragged', isDragged(settings.mode))
    for (const bars of TO_CONTINUE) setPressed(byId(`bars-${bars}`), settings.bars === bars)
    const last = Math.min(view.first + view.bars, app.bars)
    const phrase = Math.floor(view.first / song.grid.bars_per_phrase) + 1
    setText(byId('phrase'), `Phrase ${phrase}`)
    setText(byId('in-view'), `${last - view.first === 1 ? 'Bar' : 'Bars'} ${named(view.first, last).replace(/^\w+ /, '')}${partName(view)} of ${app.bars}`)
    const inView = stepsInView(view, song.grid)
    byId<HTMLButtonElement>('earlier').disabled = inView.first === 0
    byId<HTMLButtonElement>('later').disabled = inView.first + inView.count >= songs.steps(song)
    for (const id of ['selection', 'selection-2']) setText(byId(id), app.hasSelection ? named(...selection) : 'no bar selected')
    this.value('tempo', String(Math.round(song.tempo * 100) / 100))
    this.value('swing', String(Math.round(song.swing * 100)))
    setText(byId('swing-out'), `${Math.round(song.swing * 100)} %`)
    this.value('volume', String(Math.round(app.volume * 100)))
    this.value('temperature', String(settings.temperature))
    setText(byId('temperature-out'), settings.temperature.toFixed(2))
    this.value('guidance', String(settings.guidance))
    setText(byId('guidance-out'), settings.guidance.toFixed(2))
    this.value('strength', String(Math.round(settings.strength * 100)))
    setText(byId('strength-out'), `${Math.round(settings.strength * 100)} %`)
    this.value('seed', String(settings.seed))
    this.value('style', String(settings.style))
    this.value('section', String(settings.section))
    const isWorking = !!busy?.label
    setText(byId('status'), isWorking ? `${busy!.label} …` : app.message)
    const progress = byId<HTMLProgressElement>('progress')
    progress.hidden = byId('stop').hidden = !isWorking
    if (isWorking && busy!.share !== null) progress.value = busy!.share
    else progress.removeAttribute('value')
    setAttribute(document.body, 'aria-busy', isWorking ? 'true' : null)
  }

  /** Not while someone writes in it. */
  private value(id: string, value: string): void {
    const node = byId<HTMLInputElement | HTMLSelectElement>(id)
    if (node.value !== value && document.activeElement !== node) node.value = value
    else if (node.value !== value && node instanceof HTMLInputElement && node.type === 'range') node.value = value
  }
}
