/** The first minute: three steps above the page, and the dialog that begins a new song. */

import type { App } from './app'
import { type Beat, beatsFor, describe } from './beats'
import { byId, element, kept } from './dom'
import { nameOf } from './grids'
import { openingSong } from './opening'
import { emptySong } from './song'

/** Kept where the steps are dismissed. */
const DISMISSED = 'hypermeter dismissed'
const EMPTY_BARS = 4

export class First {
  private readonly dialog = byId<HTMLDialogElement>('new')
  private readonly metre = byId<HTMLSelectElement>('metre')

  constructor(private readonly app: App) {
    const beats = beatsFor(app.meta)
    for (const id of ['first-beats', 'beats']) byId(id).append(...beats.map((beat) => this.button(beat)))
    this.metre.append(...app.grids.map((grid, number) => element('option', { value: String(number) }, nameOf(grid))))
    byId('new-song').addEventListener('click', () => this.show())
    byId('begin-plain').addEventListener('click', () => this.begin(true))
    byId('begin-empty').addEventListener('click', () => this.begin(false))
    byId('dismiss').addEventListener('click', () => this.dismiss())
    byId('steps').addEventListener('click', () => this.showSteps())
    byId('first').hidden = kept.getItem(DISMISSED) !== null
  }

  private button({ name, song }: Beat): HTMLElement {
    const button = element('button', { title: `Begin with ${name}: ${describe(song)} beats a minute` }, element('b', {}, name), element('span', { class: 'hint' }, describe(song)))
    button.addEventListener('click', () => this.open(song, name, `${name}, ${describe(song)} beats a minute`))
    return button
  }

  private show(): void {
    const name = nameOf(this.app.song.grid)
    this.metre.selectedIndex = Math.max(0, this.app.grids.findIndex((grid) => nameOf(grid) === name))
    this.dialog.showModal()
  }

  /** A new song in the metre of the menu, at the tempo of this one. */
  private begin(hasBeat: boolean): void {
    const { app } = this
    const grid = app.grids[this.metre.selectedIndex] ?? app.song.grid
    const { voices, tempo } = app.song
    const song = hasBeat ? openingSong(app.meta, grid) : emptySong(voices, grid, EMPTY_BARS)
    this.open({ ...song, tempo }, `New song in ${nameOf(grid)}`, `A new song in ${nameOf(grid)}`)
  }

  private open(song: Beat['song'], name: string, says: string): void {
    this.dialog.close()
    this.app.open(song, name, true)
    this.app.say(`${says}: Undo brings back the last one`)
  }

  private dismiss(): void {
    byId('first').hidden = true
    byId('play').focus()
    kept.setItem(DISMISSED, 'yes')
  }

  private showSteps(): void {
    byId<HTMLDialogElement>('keys').close()
    byId('first').hidden = false
    kept.removeItem(DISMISSED)
    byId('first').scrollIntoView()
  }
}
