/** The dialog of songs that the browser keeps: the song's name, and the others to open or delete. */

import type { App } from './app'
import { byId, element, setText } from './dom'
import type { Keeper, Listed } from './keeper'

const MOST_LETTERS = 60

export class Shelf {
  private readonly dialog = byId<HTMLDialogElement>('shelf')
  private readonly name = byId<HTMLInputElement>('song-name')
  private readonly list = byId('kept')

  constructor(private readonly app: App, private readonly keeper: Keeper) {
    this.name.maxLength = MOST_LETTERS
    this.name.addEventListener('change', () => this.rename())
    byId('copy-song').addEventListener('click', () => void this.copy())
    this.dialog.addEventListener('close', () => app.history.seal())
  }

  show(): void {
    this.dialog.showModal()
    void this.fill()
  }

  private rename(): void {
    const { app, name } = this
    const text = name.value.trim()
    if (text && text !== app.song.kept!.name) app.edit({ ...app.song, kept: { ...app.song.kept!, name: text } })
    name.value = app.song.kept!.name
  }

  private async copy(): Promise<void> {
    this.rename()
    await this.keeper.copy()
    await this.fill()
  }

  private async fill(): Promise<void> {
    const { app, keeper } = this
    const all = await keeper.list()
    this.name.value = app.song.kept!.name
    const others = all.filter(({ id }) => id !== app.song.kept!.id)
    setText(byId('shelf-hint'), keeper.trouble
      ?? 'What you write is kept in this browser at once, with its mixer and the last 30 steps of Undo, until you delete it or the data of this page.')
    this.list.replaceChildren(...others.map((kept) => this.row(kept)))
    byId('kept-title').hidden = !others.length
  }

  private row(kept: Listed): HTMLElement {
    const bars = `${kept.bars} ${kept.bars === 1 ? 'bar' : 'bars'}`
    const about = `${bars}, ${kept.metre}, ${Math.round(kept.tempo)} bpm, ${new Date(kept.changed).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })}`
    const open = element('button', { class: 'kept-song' }, element('b', {}, kept.name), element('span', { class: 'hint' }, kept.isElsewhere ? `${about}; open in another tab, here as a copy` : about))
    const remove = element('button', { class: 'quiet', 'aria-label': `Delete ${kept.name}` }, 'Delete')
    remove.disabled = kept.isElsewhere
    open.addEventListener('click', () => {
      this.dialog.close()
      void this.keeper.open(kept.id, kept.isElsewhere)
    })
    remove.addEventListener('click', () => void this.remove(kept, remove))
    return element('li', {}, open, remove)
  }

  /** At the second press. */
  private async remove({ id, name }: Listed, button: HTMLElement): Promise<void> {
    if (!button.classList.contains('sure')) {
      button.classList.add('sure')
      button.setAttribute('aria-label', `Delete ${name} for good`)
      setText(button, 'For good?')
      return
    }
    await this.keeper.remove(id)
    await this.fill()
    this.name.focus()
    this.app.say(`“${name}” is deleted`)
  }
}
