/** The song in a link: copied, and opened from the address. */

import type { App } from './app'
import type { Keeper } from './keeper'
import { fromHash, ShareError, toHash } from './share'
import { MOST_BARS } from './song'

export class Links {
  constructor(private readonly app: App, private readonly keeper: Keeper) {
    addEventListener('hashchange', () => void this.open())
  }

  /** Copies the song as a link; where the clipboard is denied, it is put in the address. */
  async copy(): Promise<void> {
    const { app, keeper } = this
    const url = new URL(location.href)
    try {
      url.hash = await toHash(app.song, app.mixer)
    } catch (error) {
      app.say(`The link cannot be made: ${(error as Error).message}`)
      return
    }
    try {
      await navigator.clipboard.writeText(url.href)
      app.say('The link is copied: it holds the whole song and its mixer')
    } catch {
      history.replaceState(null, '', url)
      keeper.tab = { ...keeper.tab, link: url.hash }
      app.say('The link is in the address bar: it holds the whole song and its mixer')
    }
  }

  /** Whether the address has a song that this tab has not opened: after a reload, what was written in it counts. */
  get isNew(): boolean {
    return location.hash.length > 1 && location.hash !== this.keeper.tab.link
  }

  /** @returns whether the address had a song; an anchor of the host is left alone */
  async open(): Promise<boolean> {
    const { app, keeper } = this
    try {
      const found = await fromHash(location.hash.slice(1), app.meta, MOST_BARS)
      if (!found) return false
      app.open(found.song, 'From a link', true)
      app.setMixer(found.mixer)
      keeper.tab = { ...keeper.tab, link: location.hash }
      return true
    } catch (error) {
      app.say(error instanceof ShareError ? error.message : 'The link cannot be read.')
      return false
    }
  }
}
