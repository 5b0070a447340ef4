/** Opening MIDI files, dropped or chosen, and choosing how the last one is read: its drums, tempo and grid. */

import type { App } from './app'
import { byId, element } from './dom'
import { stepsPerBar } from './meta'
import { MidiError, readMidi, type Part, type ReadOptions } from './midi'
import * as songs from './song'

const MAX_MIDI_BYTES = 5_000_000

export class Opener {
  private name = ''
  private bytes = new Uint8Array()
  private parts: Part[] = []

  constructor(private readonly app: App) {
    const input = byId<HTMLInputElement>('file')
    input.addEventListener('change', () => {
      if (input.files?.[0]) void this.open(input.files[0])
      input.value = ''
    })
    for (const id of ['part', 'tempo-map', 'file-grid']) byId(id).addEventListener('change', () => this.read(this.options))
    this.acceptDrops()
  }

  private acceptDrops(): void {
    const drop = byId('drop')
    let depth = 0
    const isFile = (event: DragEvent) => event.dataTransfer?.types.includes('Files')
    document.addEventListener('dragenter', (event) => {
      if (isFile(event)) { depth++; drop.hidden = false }
    })
    document.addEventListener('dragleave', () => { if (--depth <= 0) { depth = 0; drop.hidden = true } })
    document.addEventListener('dragover', (event) => { if (isFile(event)) event.preventDefault() })
    document.addEventListener('drop', (event) => {
      depth = 0
      drop.hidden = true
      const file = event.dataTransfer?.files[0]
      if (!file) return
      event.preventDefault()
      void this.open(file)
    })
  }

  private async open(file: File): Promise<void> {
    for (const id of ['tempo-map', 'file-grid']) byId<HTMLSelectElement>(id).selectedIndex = 0
    this.name = file.name
    if (file.size > MAX_MIDI_BYTES) {
      this.app.say(`${file.name}: larger than ${MAX_MIDI_BYTES / 1e6} MB, not a drum performance`)
      return
    }
    try {
      this.bytes = new Uint8Array(await file.arrayBuffer())
    } catch {
      this.app.say(`${file.name} cannot be read`)
      return
    }
    this.parts = []
    this.read({})
  }

  /** As chosen beside the transport. */
  private get options(): ReadOptions {
    const value = (id: string) => byId<HTMLSelectElement>(id).value
    const part = this.parts[Number(value('part')) - 1]
    return {
      ...(part ? { track: part.track, channel: part.channel } : {}),
      tempoMap: value('tempo-map') as ReadOptions['tempoMap'],
      shift: value('file-grid') as ReadOptions['shift'],
    }
  }

  /** Opens the last file as the song, or says why it cannot be; then shows what can be chosen. */
  private read(options: ReadOptions): void {
    const { app, name } = this
    const { grid, kit } = app.meta
    try {
      const read = readMidi(
        this.bytes, kit.voices, (grid.steps_per_beat * grid.beat_unit) / 4, grid.beats_per_bar, grid.beat_unit, songs.MOST_BARS, options,
      )
      const { hits, velocity, offset, shift, losses, bars } = read
      const tempo = songs.clampTempo(Math.round(read.tempo * 100) / 100)
      if (Math.abs(tempo - read.tempo) > 0.005) losses.push(`its tempo of ${Math.round(read.tempo)} is out of range, ${tempo} it is`)
      app.open({ ...songs.emptySong(app.song.voices, stepsPerBar(grid), bars), hits, velocity, offset, shift, tempo })
      app.say([`${name}: ${bars} ${bars === 1 ? 'bar' : 'bars'}`, ...losses].join('; '))
      this.showChoices(read.parts, read.hasTempoChanges || options.tempoMap === 'flatten', shift !== 0 || options.shift === 'keep')
    } catch (error) {
      if (!(error instanceof MidiError)) throw error
      app.say(`${name}: ${error.message}`)
      this.showChoices(error.parts.length ? error.parts : this.parts, options.tempoMap === 'flatten', options.shift === 'keep')
    }
  }

  private showChoices(parts: Part[], hasTempoMap: boolean, hasShift: boolean): void {
    byId('tempo-map-field').hidden = !hasTempoMap
    byId('file-grid-field').hidden = !hasShift
    byId('part-field').hidden = parts.length < 2
    if (parts === this.parts) return
    const select = byId<HTMLSelectElement>('part')
    const chosen = this.parts.length ? select.value : '0'
    this.parts = parts
    const names = parts.map(({ track, name, channel, notes }) => `${name || `Track ${track}`}, channel ${channel}, ${notes} notes`)
    select.replaceChildren(...['as found', ...names].map((text, number) => element('option', { value: String(number) }, text)))
    select.value = chosen
  }
}
