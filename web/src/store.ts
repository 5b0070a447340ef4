/** Songs that the browser keeps, in IndexedDB: of each a record, and the states that Undo and Redo bring back. */

import type { Mixer, Settings } from './settings'
import { completed, type Song } from './song'

const NAME = 'hypermeter'
const VERSION = 1
const RECORDS = 'records'
/** Of each song, by its id and a number. */
const STATES = 'states'
/** What pages wrote when they were left, to be checked by the next one. */
const LATE = 'late'

/** What is told of a song beside its states. */
export interface Kept {
  id: string
  name: string
  /** Milliseconds, as of `Date.now`. */
  changed: number
  /** Whether it is as it was opened, a beat or a link: it is not worth keeping. */
  isUntouched: boolean
  bars: number
  metre: string
  tempo: number
  /** Numbers of its states. */
  past: number[]
  now: number
  future: number[]
  mixer: Mixer
  settings: Settings
  /** The tab that wrote it last. */
  writer: string
}

export class Store {
  private constructor(private readonly database: IDBDatabase) {
    database.onversionchange = () => database.close()
  }

  /** @throws where the browser denies it */
  static async open(): Promise<Store> {
    const request = indexedDB.open(NAME, VERSION)
    request.onupgradeneeded = () => {
      request.result.createObjectStore(RECORDS, { keyPath: 'id' })
      request.result.createObjectStore(STATES)
      request.result.createObjectStore(LATE, { keyPath: 'record.writer' })
    }
    return new Store(await result(request))
  }

  /** The last written first. */
  async list(): Promise<Kept[]> {
    const records: Kept[] = await result(this.database.transaction(RECORDS).objectStore(RECORDS).getAll())
    return records.sort((a, b) => b.changed - a.changed)
  }

  /** A record and its states by their numbers; null where there is none. */
  async read(id: string): Promise<{ record: Kept; states: Map<number, Song> } | null> {
    const transaction = this.database.transaction([RECORDS, STATES])
    const record: Kept | undefined = await result(transaction.objectStore(RECORDS).get(id))
    if (!record) return null
    const states = transaction.objectStore(STATES)
    const [keys, values] = await Promise.all([result(states.getAllKeys(ofSong(id))), result(states.getAll(ofSong(id)))])
    return { record, states: new Map(keys.map((key, place) => [(key as [string, number])[1], completed(values[place])])) }
  }

  /**
   * Writes a record with its new states, and drops those that it no longer names.
   *
   * @param claims whether it may be written though another tab wrote it last
   * @returns false, with nothing written, where another tab did
   */
  async save(record: Kept, fresh: Map<number, Song>, claims: boolean): Promise<boolean> {
    const transaction = this.database.transaction([RECORDS, STATES], 'readwrite')
    const records = transaction.objectStore(RECORDS)
    const states = transaction.objectStore(STATES)
    const done = ended(transaction)
    const before: Kept | undefined = await result(records.get(record.id))
    if (before && before.writer !== record.writer && !claims) {
      await done
      return false
    }
    records.put(record)
    for (const [number, song] of fresh) states.put(song, [record.id, number])
    const named = new Set([...record.past, record.now, ...record.future])
    for (const key of await result(states.getAllKeys(ofSong(record.id)))) {
      if (!named.has((key as [string, number])[1])) states.delete(key)
    }
    await done
    return true
  }

  /** Writes at once, as a page that is left waits for no answer; the next page saves it. */
  leaveBehind(record: Kept, fresh: Map<number, Song>): void {
    const transaction = this.database.transaction(LATE, 'readwrite')
    transaction.objectStore(LATE).put({ record, fresh })
    transaction.commit()
  }

  /** What was left behind, which is then no longer there. */
  async late(): Promise<{ record: Kept; fresh: Map<number, Song> }[]> {
    const transaction = this.database.transaction(LATE, 'readwrite')
    const done = ended(transaction)
    const found = await result(transaction.objectStore(LATE).getAll())
    transaction.objectStore(LATE).clear()
    await done
    return found
  }

  /** @param mayGo whether it is to go, of what is kept now */
  async remove(id: string, mayGo: (kept: Kept) => boolean = () => true): Promise<void> {
    const transaction = this.database.transaction([RECORDS, STATES], 'readwrite')
    const done = ended(transaction)
    const kept: Kept | undefined = await result(transaction.objectStore(RECORDS).get(id))
    if (kept && mayGo(kept)) {
      transaction.objectStore(RECORDS).delete(id)
      transaction.objectStore(STATES).delete(ofSong(id))
    }
    await done
  }
}

const ofSong = (id: string) => IDBKeyRange.bound([id], [id, []]) // a list comes after all numbers

export function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

function ended(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onerror = transaction.onabort = () => reject(transaction.error)
  })
}
