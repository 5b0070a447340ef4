/** Bars as one edits them by hand: copied, cut, pasted, duplicated, inserted, deleted and moved. */

import type { App } from './app'
import { type Clip, emptyClip, inserted, misfit, moved, overwritten, removed, resized, taken } from './bars'
import { byId } from './dom'
import type { Key } from './keys'
import { named } from './placing'
import * as songs from './song'

const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`
const capital = (text: string) => text[0].toUpperCase() + text.slice(1)

export class Editing {
  private clip: Clip | null = null

  constructor(private readonly app: App) {
    const click = (id: string, action: () => void) => byId(id).addEventListener('click', action)
    click('copy-bars', () => this.copy())
    click('take-out', () => this.cut())
    click('paste-bars', () => this.paste())
    click('paste-between', () => this.paste(true))
    click('duplicate-bars', () => this.duplicate())
    click('insert-bars', () => this.insert())
    click('delete-bars', () => this.delete())
    click('move-earlier', () => this.move(-1))
    click('move-later', () => this.move(1))
    click('lock-bars', () => this.lock(1))
    click('unlock-bars', () => this.lock(0))
    click('clear-bars', () => this.clear())
    click('open-asks', () => this.openAsks())
    click('add-bar', () => this.add())
    click('cut-bars', () => this.cutRest())
  }

  get keys(): Key[] {
    // Where text is selected, it is the text that is copied.
    const ofText = () => !getSelection()?.isCollapsed
    return [
      { press: 'ctrl+c', shown: 'Ctrl C', does: 'copy the selected bars', action: () => this.copy(), isLeft: ofText },
      { press: 'ctrl+x', shown: 'Ctrl X', does: 'cut them out: the bars after them move up', action: () => this.cut(), isLeft: ofText },
      { press: 'ctrl+v', shown: 'Ctrl V', does: 'paste over the selected bars, or after the last', action: () => this.paste() },
      { press: 'ctrl+shift+v', shown: 'Ctrl Shift V', does: 'paste before the selected bars: those move on', action: () => this.paste(true) },
      { press: 'ctrl+d', shown: 'Ctrl D', does: 'duplicate the selected bars', action: () => this.duplicate() },
      { press: 'insert', shown: 'Ins', does: 'insert as many empty bars before the selected ones', action: () => this.insert() },
      { press: 'delete', shown: 'Del', does: 'delete the selected bars', action: () => this.delete() },
      { press: 'backspace', shown: 'Backspace', does: 'clear the selected bars, locked cells excepted', action: () => this.clear() },
      { press: 'ctrl+shift+arrowleft', shown: 'Ctrl Shift ←', does: 'move the selected bars before the bar that is before them', action: () => this.move(-1) },
      { press: 'ctrl+shift+arrowright', shown: 'Ctrl Shift →', does: 'move them after the bar that is after them', action: () => this.move(1) },
    ]
  }

  // ---------------------------------------------------------------- clips

  copy(): void {
    this.ofBars((first, last) => {
      this.clip = taken(this.app.song, first, last)
      this.app.say(`Copied ${named(first, last)}: Ctrl V pastes over the selected bars`)
    })
  }

  cut(): void {
    this.ofBars((first, last) => {
      const clip = taken(this.app.song, first, last)
      if (this.take(first, last, 'Cut')) this.clip = clip
    })
  }

  /** @param isBetween before the selected bars, not over them; without a selection after the last bar */
  paste(isBetween = false): void {
    const { app, clip } = this
    if (!clip) {
      app.say('Nothing was copied: select bars, and press Ctrl C')
      return
    }
    const length = clip.asks.length
    const at = app.hasSelection ? app.selection[0] : app.bars
    const isOver = !isBetween && app.hasSelection
    this.put(at, isOver ? length - (app.bars - at) : length, clip, isOver ? 'Pasted over' : 'Pasted as', isOver)
  }

  duplicate(): void {
    this.ofBars((first, last) => this.put(last, last - first, taken(this.app.song, first, last), `${capital(named(first, last))} again as`))
  }

  insert(): void {
    this.ofBars((first, last) => this.put(first, last - first, emptyClip(this.app.song, last - first), 'Empty now:'))
  }

  /** Puts bars in place and selects them, or says why they do not go there. */
  private put(at: number, added: number, clip: Clip, says: string, isOver = false): void {
    const { app } = this
    const why = misfit(app.song, clip, Math.max(0, added))
    if (why) {
      app.say(why)
      return
    }
    const last = at + clip.asks.length
    app.edit(isOver ? overwritten(app.song, at, clip) : inserted(app.song, at, clip))
    app.select(at, last)
    app.show(at)
    app.say(`${says} ${named(at, last)}`)
  }

  delete(): void {
    this.ofBars((first, last) => this.take(first, last, 'Deleted'))
  }

  /** Takes bars out, but not all there are. @returns whether it did */
  private take(first: number, last: number, says: string): boolean {
    const { app } = this
    if (last - first === app.bars) {
      app.say('A song has at least one bar: Clear empties them, New song begins another')
      return false
    }
    app.edit(removed(app.song, first, last))
    app.select(Math.min(first, app.bars - 1), Math.min(first, app.bars - 1) + 1)
    app.show(app.selection[0])
    app.say(`${says} ${named(first, last)}; Undo brings them back`)
    return true
  }

  move(by: 1 | -1): void {
    this.ofBars((first, last) => {
      const { app } = this
      const song = moved(app.song, first, last, by)
      if (song === app.song) {
        app.say(`${capital(named(first, last))} can go no ${by < 0 ? 'further to the front' : 'further to the end'}`)
        return
      }
      app.edit(song)
      app.select(first + by, last + by)
      app.show(first + by)
      app.say(`Moved to ${named(first + by, last + by)}`)
    })
  }

  // ---------------------------------------------------------------- what is in bars

  private lock(locked: 0 | 1): void {
    this.ofBars((first, last) => {
      const { app } = this
      const size = app.song.stepsPerBar * app.song.voices
      app.edit(songs.setLocks(app.song, Array.from({ length: (last - first) * size }, (_, i) => first * size + i), locked))
    })
  }

  clear(): void {
    this.ofBars((first, last) => {
      const { app } = this
      const before = songs.hitsIn(app.song, first, last)
      app.edit(songs.clear(app.song, first, last))
      const left = songs.hitsIn(app.song, first, last)
      const kept = left ? `; ${count(left, 'hit')} locked and left` : ''
      app.say(before
        ? `Cleared ${named(first, last)}: ${count(before - left, 'hit')} gone${kept}; Undo brings them back`
        : `${capital(named(first, last))}: nothing to clear`)
    })
  }

  private openAsks(): void {
    this.ofBars((first, last) => {
      const { app } = this
      app.edit(songs.setAsks(app.song, first, last, songs.OPEN))
      app.say(`The plan of ${named(first, last)} is open`)
    })
  }

  private add(): void {
    const { app } = this
    if (app.bars >= songs.MOST_BARS) {
      app.say(`A song has at most ${songs.MOST_BARS} bars`)
      return
    }
    app.edit(resized(app.song, app.bars + 1))
    app.select(app.bars - 1, app.bars)
    app.show(app.bars - 1)
  }

  private cutRest(): void {
    this.ofBars((_, last) => {
      const { app } = this
      const gone = app.bars - last
      app.edit(resized(app.song, last))
      app.say(gone ? `${count(gone, 'bar')} after ${named(0, last)} cut; Undo brings them back` : 'No bar comes after the selected ones')
    })
  }

  private ofBars(action: (first: number, last: number) => void): void {
    if (this.app.isSelected()) action(...this.app.selection)
  }
}
