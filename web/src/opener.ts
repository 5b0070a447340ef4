/** Opening MIDI files, dropped or chosen, and choosing how the last one is read: its drums, tempo and grid. */

import type { App } from './app'
import { byId, element } from './dom'
import { midiVoices } from './meta'
import { nameOf, stepMs } from './grids'
import { MAP_TITLES, MidiError, readMidi, type Part, type ReadOptions } from './midi'
import * as songs from './song'

const MAX_MIDI_BYTES = 5_000_000
/** Fields that say how a file is read. */
const CHOICES = ['part', 'pitch-map', 'tempo-map', 'file-grid', 'file-metre'] as const

export class Opener {
  private name = ''
  private bytes = new Uint8Array()
  private parts: Part[] = []

  /** @param onRhythm is given a file that is dropped as a rhythm */
  constructor(private readonly app: App, private readonly onRhythm: (file: File) => void) {
    const input = byId<HTMLInputElement>('file')
    input.addEventListener('change', () => {
      if (input.files?.[0]) void this.open(input.files[0])
      input.value = ''
    })
    const [[gm, general], ...devices] = MAP_TITLES
    fill('pitch-map', [[gm, general], ['auto', 'of what fits best'], ...devices])
    fill('file-metre', [['auto', 'of the file'], ...app.grids.map((grid, number): [string, string] => [String(number), nameOf(grid)])])
    for (const id of CHOICES) byId(id).addEventListener('change', () => this.read(this.options))
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
      if (!file || event.defaultPrevented) return // a sound, which went to a voice
      event.preventDefault()
      if (event.target instanceof Element && event.target.closest('#drop-rhythm')) this.onRhythm(file)
      else void this.open(file)
    })
  }

  private async open(file: File): Promise<void> {
    for (const id of CHOICES) select(id).selectedIndex = 0
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
    const part = this.parts[Number(select('part').value) - 1]
    return {
      ...(part ? { track: part.track, channel: part.channel } : {}),
      map: select('pitch-map').value,
      tempoMap: select('tempo-map').value as ReadOptions['tempoMap'],
      shift: select('file-grid').value as ReadOptions['shift'],
    }
  }

  /** Opens the last file as the song, or says why it cannot be; then shows what can be chosen. */
  private read(options: ReadOptions): void {
    const { app, name } = this
    const { meta, grids } = app
    const chosen = grids[Number(select('file-metre').value)]
    const everyMetre = meta.serves_every_grid && !chosen
    try {
      const read = readMidi(
        this.bytes, midiVoices(meta), chosen ?? meta.grid, songs.MOST_BARS, { ...options, everyMetre },
      )
      const { hits, velocity, offset, openness, strokes, shift, losses, bars, grid } = read
      const tempo = songs.clampTempo(Math.round(read.tempo * 100) / 100)
      if (Math.abs(tempo - read.tempo) > 0.005) losses.push(`its tempo of ${Math.round(read.tempo)} is out of range, ${tempo} it is`)
      if (shift) losses.push(describeShift(shift, stepMs(grid, tempo)))
      const isUnknown = meta.serves_every_grid && !grids.some((known) => nameOf(known) === nameOf(grid))
      if (isUnknown) losses.push(`the model did not learn ${nameOf(grid)}, it plays it by what others have in common with it`)
      const inMetre = nameOf(grid) === nameOf(meta.grid) ? '' : ` in ${nameOf(grid)}`
      app.open({ ...songs.emptySong(app.song.voices, grid, bars), hits, velocity, offset, openness, strokes, shift, tempo }, name.replace(/\.\w+$/, ''))
      app.say([`${name}: ${bars} ${bars === 1 ? 'bar' : 'bars'}${inMetre}`, ...losses].join('; '))
      this.showChoices(read.parts, {
        'part': read.parts.length > 1, 'pitch-map': read.hasUnmapped, 'tempo-map': read.hasTempoChanges, 'file-grid': read.ownGrid.shift !== 0, 'file-metre': meta.serves_every_grid,
      })
    } catch (error) {
      if (!(error instanceof MidiError)) throw error
      app.say(`${name}: ${error.message}`)
      this.showChoices(error.parts, { ...(error.remedy ? { [error.remedy]: true } : {}), 'file-metre': meta.serves_every_grid })
    }
  }

  /** Shows what can be chosen of the file: what would change it, and what is not as it was at first. */
  private showChoices(parts: Part[], matters: Partial<Record<(typeof CHOICES)[number], boolean>>): void {
    const chosen = this.parts.length ? select('part').value : '0'
    this.parts = parts
    const names = parts.map(({ track, name, channel, notes }) => (
      [name || `Track ${track}`, ...(channel ? [`channel ${channel}`, `${notes} notes`] : [])].join(', ')
    ))
    fill('part', ['as found', ...names].map((text, number) => [String(number), text]))
    select('part').value = chosen
    for (const id of CHOICES) byId(`${id}-field`).hidden = !matters[id] && select(id).selectedIndex <= 0
  }
}

const select = (id: string) => byId<HTMLSelectElement>(id)

/** @param options value and text of each */
function fill(id: string, options: [string, string][]): void {
  select(id).replaceChildren(...options.map(([value, text]) => element('option', { value }, text)))
}

function describeShift(shift: number, stepMs: number): string {
  return `played ${Math.abs(shift * stepMs).toFixed(0)} ms ${shift < 0 ? 'early' : 'late'} throughout: the grid is moved there`
}
