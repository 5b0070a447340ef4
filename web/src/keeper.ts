/** Keeps the song as it is written, and brings it back; no tab writes over what another one wrote. */

import type { App } from './app'
import { nameOf } from './grids'
import { completedMixer, FIRST_SETTINGS } from './settings'
import { bars, newPlace, type Place, type Song } from './song'
import { Store, type Kept } from './store'

/** Milliseconds from a change until it is written. */
const PATIENCE_MS = 200
/** Milliseconds between looks where nothing is shown, as endless play goes on in a tab behind others. */
const LOOK_MS = 5000
/** States that are kept of what Undo brings back, and of what Redo does. */
const MOST_STATES = 30
/** Of the tab: which song it had, and from which link. */
const TAB = 'hypermeter'
/** Milliseconds that the page before a reload has to let go of its song. */
const LET_GO_MS = 100
const TRIES = 5

/** A song in the list; whether another tab has it. */
export interface Listed extends Kept {
  isElsewhere: boolean
}

export class Keeper {
  /** Why nothing is kept, or null. */
  trouble: string | null = null
  private store: Store | null = null
  private readonly writer = newPlace('').id
  /** Numbers of the states that are written, of the song of this id. */
  private id = ''
  private written = new WeakMap<Song, number>()
  private number = Date.now()
  /** What was written last, to tell whether anything is new. */
  private last: unknown[] = []
  private isUntouched = true
  /** Mixer and settings that the song was opened with. */
  private first: unknown[] = []
  private timer: ReturnType<typeof setTimeout> | null = null
  private work: Promise<void> = Promise.resolve()
  private letGo: () => void = () => undefined

  constructor(private readonly app: App) {}

  /**
   * Brings back the song of this tab, or of the last one that was closed, and from then on keeps what is written.
   *
   * @param isOpened whether the page has a song already, of a link that this tab did not have before
   */
  async start(isOpened: boolean): Promise<void> {
    try {
      this.store = await Store.open()
      for (const { record, fresh } of await this.store.late()) await this.store.save(record, fresh, false)
      if (!isOpened) await this.comeBack()
    } catch (error) {
      this.trouble = `This browser keeps no songs: ${(error as Error).message || 'it denies the storage'}`
    }
    this.app.onChange(() => this.later())
    addEventListener('visibilitychange', () => void this.save())
    addEventListener('pagehide', () => this.leaveBehind())
    addEventListener('beforeunload', (event) => { if (this.trouble && this.app.song !== this.app.opened) event.preventDefault() })
    setInterval(() => void this.save(), LOOK_MS)
    await this.save()
  }

  private async comeBack(): Promise<void> {
    const { app } = this
    const all = await this.store!.list()
    const own = all.find(({ id }) => id === this.tab.id)
    const last = own ?? all.find(({ isUntouched }) => !isUntouched)
    const free = await this.pickFree(all, own?.id)
    if (free) await this.open(free.id)
    else if (own) await this.open(own.id, true) // the tab was duplicated
    else if (last) app.say(`“${last.name}” is open in another tab: this one begins a song of its own`)
    const taken = await held()
    for (const { id } of all) if (id !== this.id && !taken.has(id)) await this.store!.remove(id, ({ isUntouched }) => isUntouched)
  }

  /** The song of this tab; in a new tab the last one that no other tab has. */
  private async pickFree(all: Kept[], own?: string): Promise<Kept | undefined> {
    for (let tries = 0; ; tries++) {
      const taken = await held()
      const found = all.find(({ id, isUntouched }) => !taken.has(id) && (own ? id === own : !isUntouched))
      if (found || !own || tries >= TRIES) return found
      await new Promise((resolve) => setTimeout(resolve, LET_GO_MS))
    }
  }

  /** Where songs are kept, all of them. */
  async list(): Promise<Listed[]> {
    await this.save()
    const taken = await held()
    return ((await this.store?.list()) ?? []).map((record) => ({
      ...record, isElsewhere: record.id !== this.app.song.kept?.id && taken.has(record.id),
    }))
  }

  /** Opens a song with its mixer, settings and history. @param isCopy as a song of its own, as when another tab has it */
  async open(id: string, isCopy = false): Promise<void> {
    await this.save()
    const found = await this.store?.read(id)
    const song = found?.states.get(found.record.now)
    if (!found || !song) return
    const { app } = this
    const { record: { past, future, mixer, settings, name, isUntouched }, states } = found
    const all = (numbers: number[]) => numbers.flatMap((number) => states.get(number) ?? [])
    const now = { ...song, kept: isCopy ? newPlace(`${name}, copy`) : { id, name } }
    app.restore({ past: all(past), now, future: all(future) }, isUntouched)
    app.setMixer(completedMixer(mixer))
    app.set({ ...FIRST_SETTINGS, ...settings, endless: false, mode: 'write' })
    if (!isUntouched) app.say(isCopy ? `A copy of “${name}” goes on here` : `“${name}” is back as you left it`)
    await this.save(true)
  }

  async remove(id: string): Promise<void> {
    await this.store?.remove(id)
  }

  /** A copy of the song goes on here; the song stays in the list as it is. */
  async copy(): Promise<void> {
    await this.save()
    const { app } = this
    const { name } = this.place
    app.edit({ ...app.song, kept: newPlace(`${name}, copy`) })
    await this.save()
    app.say(`A copy of “${name}” goes on here; “${name}” is in the list`)
  }

  get place(): Place {
    return this.app.song.kept!
  }

  private later(): void {
    this.timer ??= setTimeout(() => void this.save(), PATIENCE_MS)
  }

  /** Writes what is new. @param claims whether also where another tab wrote the song last */
  save(claims = false): Promise<void> {
    if (this.timer) clearTimeout(this.timer)
    this.timer = null
    this.work = this.work.then(() => this.write(claims)).catch((error: Error) => {
      this.trouble = `The song is not kept: ${error.message || error.name}`
      this.app.say(this.trouble)
    })
    return this.work
  }

  private async write(claims: boolean): Promise<void> {
    const { app, store } = this
    if (!store || !app.song.kept || !(this.isNew || claims)) return
    const { id, name } = app.song.kept
    if (id !== this.id) await this.take(id)
    const parts = this.parts
    const { record, fresh } = this.record()
    if (!(await store.save(record, fresh, claims))) {
      const place = newPlace(`${name}, copy`)
      this.letGo()
      this.id = '' // it is the other's now
      app.history.amend({ ...app.song, kept: place })
      app.say(`Another tab writes “${name}”: this one goes on as “${place.name}”`)
      return // which is a change, and written as one
    }
    for (const [number, state] of fresh) this.written.set(state, number)
    this.last = parts
    this.isUntouched = record.isUntouched
    this.trouble = null
    this.tab = { ...this.tab, id }
  }

  /** What was written within the last moment before the page is left. */
  private leaveBehind(): void {
    if (!this.store || !this.app.song.kept || !this.isNew) return
    if (this.app.song.kept.id !== this.id) this.written = new WeakMap()
    const { record, fresh } = this.record()
    this.store.leaveBehind(record, fresh)
    this.tab = { ...this.tab, id: record.id }
  }

  /** What is kept. */
  private get parts(): unknown[] {
    return [this.app.song, this.app.mixer, this.app.settings]
  }

  private get isNew(): boolean {
    return this.parts.some((part, place) => part !== this.last[place])
  }

  /** The song as it is now, and the states of it that are not written yet. */
  private record(): { record: Kept; fresh: Map<number, Song> } {
    const { song, mixer, settings, history, opened } = this.app
    const states = history.states(MOST_STATES)
    const fresh = new Map<number, Song>()
    const numberOf = (state: Song) => {
      const known = this.written.get(state)
      if (known !== undefined) return known
      fresh.set(++this.number, state)
      return this.number
    }
    const isUntouched = this.isUntouched && song === opened && this.first.includes(mixer) && this.first.includes(settings)
    return {
      record: {
        ...song.kept!, changed: Date.now(), isUntouched, bars: bars(song), metre: nameOf(song.grid), tempo: song.tempo, writer: this.writer,
        past: states.past.map(numberOf), now: numberOf(song), future: states.future.map(numberOf), mixer, settings,
      },
      fresh,
    }
  }

  /** From now on the song of this id is written. */
  private async take(id: string): Promise<void> {
    await this.leave()
    this.id = id
    this.written = new WeakMap()
    this.isUntouched = true
    this.first = [this.app.mixer, this.app.settings]
    this.letGo = await hold(id)
  }

  /** The song of before stays as it is, and goes where nothing was written in it. */
  private async leave(): Promise<void> {
    if (!this.id) return
    this.letGo()
    await this.store!.remove(this.id, ({ isUntouched, writer }) => isUntouched && writer === this.writer)
    this.id = ''
  }

  /** What this tab knows after a reload. */
  get tab(): { id?: string; link?: string } {
    try {
      return JSON.parse(sessionStorage.getItem(TAB) ?? '{}')
    } catch {
      return {}
    }
  }

  set tab(known: { id?: string; link?: string }) {
    try {
      sessionStorage.setItem(TAB, JSON.stringify(known))
    } catch {
      // A browser that keeps nothing says so by the store.
    }
  }
}

// ------------------------------------------------------------------ which tab has which song, where the browser can tell

const LOCK = 'hypermeter '

/** Ids of the songs that tabs have open; none over plain http, where browsers have no locks. */
async function held(): Promise<Set<string>> {
  const found = await navigator.locks?.query()
  return new Set(found?.held?.flatMap(({ name }) => (name?.startsWith(LOCK) ? [name.slice(LOCK.length)] : [])))
}

/** @returns lets go */
function hold(id: string): Promise<() => void> {
  return new Promise((resolve) => {
    if (!navigator.locks) resolve(() => undefined)
    void navigator.locks?.request(LOCK + id, { ifAvailable: true }, (lock) => new Promise<void>((end) => {
      resolve(end)
      if (!lock) end()
    }))
  })
}

