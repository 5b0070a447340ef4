/** Saving sound: the dialog, and WAV files as they are rendered: a mix, or each voice by itself in a zip archive. */

import { Zip, ZipPassThrough } from 'fflate'
import type { App } from './app'
import { byId, download, setText } from './dom'
import { rendered } from './rendering'
import { isHeard } from './settings'
import type { Sound } from './sound'
import { type Bits, MOST_WAV_BYTES, wavBytes, wavFrames, wavHead } from './wav'

const SIDES = 2
/** Of the entries of archives, so that one song gives one file. */
const DATE = new Date(1980, 0, 1, 12)

interface Choice {
  isLoop: boolean
  isSelection: boolean
  areStems: boolean
  bits: Bits
}

export class Exporting {
  private readonly dialog = byId<HTMLDialogElement>('export')
  private readonly progress = byId<HTMLProgressElement>('export-progress')
  private stop: AbortController | null = null

  constructor(private readonly app: App, private readonly sound: Sound) {
    byId('export-save').addEventListener('click', () => void this.save())
    byId('export-stop').addEventListener('click', () => this.stop?.abort())
    this.dialog.addEventListener('close', () => this.stop?.abort())
  }

  show(): void {
    const { app } = this
    const part = byId<HTMLSelectElement>('export-part')
    part.options[1].disabled = !app.hasSelection
    if (!app.hasSelection) part.selectedIndex = 0
    this.showWork(null)
    setText(byId('export-says'), '')
    this.dialog.showModal()
  }

  private get choice(): Choice {
    const value = (id: string) => byId<HTMLSelectElement>(id).value
    return {
      isSelection: value('export-part') === 'selection', isLoop: value('export-end') === 'loop',
      areStems: value('export-files') === 'stems', bits: Number(value('export-bits')) as Bits,
    }
  }

  private async save(): Promise<void> {
    if (this.stop) return
    this.stop = new AbortController()
    this.showWork(0)
    try {
      const says = await this.write(this.choice, this.stop.signal)
      this.dialog.close()
      this.app.say(says)
    } catch (error) {
      const isStopped = (error as Error).name === 'AbortError'
      setText(byId('export-says'), isStopped ? 'Stopped: nothing was saved' : `It cannot be made: ${(error as Error).message}`)
    } finally {
      this.stop = null
      this.showWork(null)
    }
  }

  /** @param share of what is done; null where nothing is being done */
  private showWork(share: number | null): void {
    byId('export-work').hidden = share === null
    byId<HTMLButtonElement>('export-save').disabled = share !== null
    this.progress.value = share ?? 0
  }

  /** @returns what was saved, in a line */
  private async write({ isLoop, isSelection, areStems, bits }: Choice, signal: AbortSignal): Promise<string> {
    const { app, sound } = this
    const { mixer, meta } = app
    await sound.loadSamples()
    const [first, last] = app.selection
    const bars = isSelection ? Array.from({ length: last - first }, (_, bar) => first + bar) : undefined
    const score = isLoop ? sound.score(bars, null) : sound.score(bars)
    const { kit, routing } = sound
    const heard = meta.kit.voices.map((_, voice) => voice).filter((voice) => score.hits.some((hit) => hit.voice === voice))
    if (!heard.length) throw new Error('no hit is heard in these bars')
    const silent = app.song.hits.some((hit, cell) => hit && !isHeard(mixer, cell % app.song.voices)) ? '; silent voices are left out' : ''
    const bytes = wavBytes(SIDES, score.frames, bits) * (areStems ? heard.length : 1)
    if (bytes > MOST_WAV_BYTES) throw new Error(`it would have ${(bytes / 1e9).toFixed(1)} GB of at most 4: save fewer bars, or 16 bits`)
    const name = `hypermeter${isLoop ? '-loop' : ''}${areStems ? '-stems.zip' : '.wav'}`
    const parts: Uint8Array[] = []
    let peak = 0
    const file = async (volumes: number[] | undefined, push: (bytes: Uint8Array) => void, from: number, share: number) => {
      push(wavHead(SIDES, score.frames, kit.rate, bits))
      let done = 0
      for await (const sides of rendered(kit, score, { ...routing, volumes, isOpen: areStems }, signal)) {
        for (const side of sides) for (const x of side) peak = Math.max(peak, Math.abs(x))
        push(wavFrames(sides, bits))
        done += sides[0].length
        this.showWork(from + (share * done) / score.frames)
      }
    }
    if (areStems) {
      const archive = new Zip((error, chunk) => {
        if (error) throw error
        parts.push(chunk)
      })
      for (const [place, voice] of heard.entries()) {
        const entry = new ZipPassThrough(`${String(place + 1).padStart(2, '0')} ${meta.kit.voices[voice].label}.wav`)
        entry.mtime = DATE
        archive.add(entry)
        const alone = routing.volumes!.map((volume, other) => (other === voice ? volume : 0))
        await file(alone, (part) => entry.push(part), place / heard.length, 1 / heard.length)
        entry.push(new Uint8Array(), true)
      }
      archive.end()
    } else await file(routing.volumes, (part) => parts.push(part), 0, 1)
    download(parts, name, areStems ? 'application/zip' : 'audio/wav')
    const what = areStems ? `${heard.length} voices, without the limiter` : isLoop ? `a loop of ${(score.frames / kit.rate).toFixed(3)} s` : ''
    return `Saved as ${name}${what ? `: ${what}` : ''}${silent}${peak > 1 ? '; its loudest hits are clipped: turn voices down' : ''}`
  }
}
