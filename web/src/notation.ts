/** The notation of the song, to be looked at and printed. */

import type { App } from './app'
import { byId, element, setText } from './dom'
import { metreOf } from './grids'
import { barsPlayed, performed } from './performing'
import { notatedBar, placesOf, usualOf } from './scoring'
import { plainMixer } from './settings'

/** Steps that a row has room for, at most, and in pixels its width. */
const STEPS_OF_ROW = 32
const WIDTH = 1000
/** Milliseconds until the page gets its turn. */
const TURN_MS = 12

export class Notation {
  private readonly dialog = byId<HTMLDialogElement>('notation')
  private readonly rows = byId('rows')
  /** Which drawing this is: an older one ends when another begins. */
  private drawing = 0

  constructor(private readonly app: App) {
    byId('print').addEventListener('click', () => print())
    this.dialog.addEventListener('close', () => {
      this.drawing++
      document.body.classList.remove('noted')
    })
  }

  show(): void {
    this.dialog.showModal()
    document.body.classList.add('noted') // what is printed
    void this.draw()
  }

  private async draw(): Promise<void> {
    const { app, rows } = this
    const { song, meta, settings } = app
    const own = ++this.drawing
    const print = byId<HTMLButtonElement>('print')
    print.disabled = true
    rows.replaceChildren()
    setText(byId('notation-name'), song.kept?.name ?? '')
    const pulse = song.swing ? `, swing ${Math.round(song.swing * 100)} %` : ''
    setText(byId('notation-about'), `${metreOf(song.grid)}, ${Math.round(song.tempo)} beats a minute${pulse}`)
    const says = byId('notation-says')
    setText(says, 'Drawing …')
    try {
      const { ready, draw } = await import('./engraving')
      await ready()
      const played = performed({ ...song, chances: new Map() }, plainMixer(song.voices), barsPlayed(song, settings))
      const count = played.hits.length / song.voices / song.stepsPerBar
      const { places, areFeet } = placesOf(meta.kit.voices.map(({ write }) => write))
      const usual = usualOf(played)
      const perRow = Math.max(1, Math.floor(STEPS_OF_ROW / song.stepsPerBar))
      let turn = performance.now()
      for (let first = 0; first < count; first += perRow) {
        const bars = Array.from({ length: Math.min(perRow, count - first) }, (_, place) => notatedBar(played, first + place, areFeet, usual))
        const row = element('div', { class: 'score-row', role: 'img', 'aria-label': `Bars ${first + 1} to ${first + bars.length}` })
        rows.append(row)
        const room = (WIDTH * (bars.length + 0.1)) / (perRow + 0.1)
        draw(row, { bars, number: first + 1, beats: song.grid.beats_per_bar, unit: song.grid.beat_unit, places }, room)
        const picture = row.querySelector('svg')!
        picture.setAttribute('viewBox', `0 0 ${room} ${picture.getAttribute('height')}`)
        row.style.width = `${(100 * room) / WIDTH}%`
        if (performance.now() - turn < TURN_MS) continue
        await new Promise((resolve) => setTimeout(resolve, 0))
        if (own !== this.drawing) return
        turn = performance.now()
      }
      print.disabled = false
      setText(says, [
        ...(song.chances.size ? ['Hits with a chance are all written'] : []), ...(settings.ordered && song.order.length ? ['Patterns are written in their order'] : []),
      ].join('; '))
    } catch (error) {
      setText(says, `The notation cannot be drawn: ${(error as Error).message}`)
    }
  }
}
