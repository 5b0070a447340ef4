/** Sounds of one's own: files, decoded, and kept beside the songs. */

import { result } from './store'

export const MOST_SAMPLE_BYTES = 2_000_000
export const MOST_SAMPLE_S = 10
const NAME = 'hypermeter sounds'
const SOUNDS = 'sounds'
/** Sounds that no song has are dropped after so long: another tab may be about to write its song. */
const KEPT_MS = 86_400_000

interface KeptSound {
  bytes: ArrayBuffer
  /** Milliseconds, as of `Date.now`. */
  added: number
}

/** Whether a file is a sound, and not MIDI. */
export function isSound({ type, name }: Pick<File, 'type' | 'name'>): boolean {
  return (type.startsWith('audio/') && !/mid/.test(type)) || /\.(wav|wave|mp3|ogg|oga|opus|flac|aiff?|m4a|aac|webm)$/i.test(name)
}

/**
 * A sound in mono at a rate.
 *
 * @throws Error in a line that can be told
 */
export async function decoded(bytes: ArrayBuffer, name: string, rate: number): Promise<AudioBuffer> {
  const context = new OfflineAudioContext(1, 1, rate)
  let found: AudioBuffer
  try {
    found = await context.decodeAudioData(bytes.slice(0)) // which takes them away
  } catch {
    throw new Error(`${name} is no sound that this browser reads; WAV is read by all`)
  }
  if (found.duration > MOST_SAMPLE_S) throw new Error(`${name} has ${found.duration.toFixed(1)} seconds; a sound of a voice has at most ${MOST_SAMPLE_S}`)
  const mono = new AudioBuffer({ length: Math.max(1, found.length), sampleRate: found.sampleRate })
  const sides = Array.from({ length: found.numberOfChannels }, (_, side) => found.getChannelData(side))
  mono.copyToChannel(Float32Array.from(sides[0], (_, at) => sides.reduce((sum, side) => sum + side[at], 0) / sides.length), 0)
  return mono
}

export class SampleStore {
  private database: Promise<IDBDatabase> | null = null

  /** @throws where the browser denies it */
  private open(): Promise<IDBDatabase> {
    if (!this.database) {
      const request = indexedDB.open(NAME, 1)
      request.onupgradeneeded = () => request.result.createObjectStore(SOUNDS)
      this.database = result(request)
    }
    return this.database
  }

  private async sounds(mode: IDBTransactionMode): Promise<IDBObjectStore> {
    return (await this.open()).transaction(SOUNDS, mode).objectStore(SOUNDS)
  }

  async put(id: string, bytes: ArrayBuffer): Promise<void> {
    await result((await this.sounds('readwrite')).put({ bytes, added: Date.now() } satisfies KeptSound, id))
  }

  async get(id: string): Promise<ArrayBuffer | null> {
    const kept: KeptSound | undefined = await result((await this.sounds('readonly')).get(id))
    return kept?.bytes ?? null
  }

  /** Drops sounds that are in no song. */
  async prune(used: ReadonlySet<string>): Promise<void> {
    const store = await this.sounds('readwrite')
    for (const id of await result(store.getAllKeys())) {
      const kept: KeptSound = await result(store.get(id))
      if (!used.has(String(id)) && Date.now() - kept.added > KEPT_MS) store.delete(id)
    }
  }
}
