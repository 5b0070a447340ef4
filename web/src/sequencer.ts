/** The grid: voices down, steps across. Arrow keys move, space writes; the pointer paints. */

import type { App } from './app'
import { element, setAttribute, setText } from './dom'
import { nameOf, stepsPerPulse } from './grids'
import type { Mode } from './settings'
import * as songs from './song'
import { stepsInView } from './viewing'
import { streamsOf } from './voices'

const LOUDER = 0.1
/** Pixels of a drag from silence to full loudness. */
const FULL_DRAG = 120
/** Pixels that a finger moves before it draws. */
const TOUCH_SLOP = 8

export class Sequencer {
  private readonly rows: HTMLElement[]
  private readonly head: HTMLElement
  private cells: HTMLElement[][] = []
  private columns: HTMLElement[] = []
  private focus = { voice: 0, step: 0 }
  private stroke: { value: 0 | 1; name: string } | null = null
  private drag: { cell: number; y: number; velocity: number } | null = null
  /** Where a finger is that has neither moved nor been lifted: it may yet scroll. */
  private touched: { event: PointerEvent; mode: Mode } | null = null
  private strokes = 0
  private playing = -1
  /** Grid and bars that the cells were made for. */
  private shape = ''

  constructor(private readonly grid: HTMLElement, private readonly app: App, private readonly audition: (voice: number, velocity: number) => void) {
    const streams = streamsOf(app.meta)
    this.head = element('div', { 'aria-hidden': 'true', class: 'row head' }) // each cell tells its place by itself
    this.rows = app.meta.kit.voices.map(({ label }, voice) =>
      element('div', { role: 'row', class: `row ${streams[voice]}` }, element('div', { role: 'rowheader', class: 'sr' }, label)))
    grid.append(this.head, ...this.rows)
    grid.addEventListener('pointerdown', (event) => this.press(event))
    grid.addEventListener('pointermove', (event) => this.move(event))
    grid.addEventListener('pointerup', () => this.release())
    grid.addEventListener('pointercancel', () => {
      this.touched = null // it scrolls: nothing is written
      this.release()
    })
    grid.addEventListener('keydown', (event) => this.key(event))
    grid.addEventListener('focusin', (event) => {
      const at = this.placeOf(event.target as Element)
      if (at) this.setFocus(at.voice, at.step)
    })
  }

  // ---------------------------------------------------------------- what is shown

  show(): void {
    const { app } = this
    const { song } = app
    const size = song.stepsPerBar
    const beat = song.grid.steps_per_beat
    const { first, count } = this.inView
    const shape = `${nameOf(song.grid)} ${count}`
    if (this.shape !== shape) this.build(count)
    this.shape = shape
    const [from, to] = app.selection
    this.columns.forEach((column, place) => {
      const step = first + place
      const isThere = step < songs.steps(song)
      setText(column, step % size === 0 ? `${step / size + 1}` : step % beat === 0 ? `${(step % size) / beat + 1}` : '')
      column.classList.toggle('bar', step % size === 0)
      column.classList.toggle('absent', !isThere)
      const bar = Math.floor(step / size)
      column.classList.toggle('selected', isThere && bar >= from && bar < to)
    })
    this.cells.forEach((row, voice) => row.forEach((node, place) => this.showCell(node, voice, first + place)))
    this.rove()
  }

  private get inView(): { first: number; count: number } {
    return stepsInView(this.app.view, this.app.song.grid)
  }

  private showCell(node: HTMLElement, voice: number, step: number): void {
    const { song, meta } = this.app
    const isThere = step < songs.steps(song)
    const cell = step * song.voices + voice
    const hit = isThere && song.hits[cell] > 0
    const locked = isThere && songs.isLocked(song, cell)
    node.className = `cell${hit ? ' hit' : ''}${locked ? ' locked' : ''}${isThere ? '' : ' absent'}${this.edges(step)}`
    if (hit) {
      node.style.setProperty('--loud', song.velocity[cell].toFixed(2))
      node.style.setProperty('--late', songs.placed(song, cell).toFixed(2))
    }
    setAttribute(node, 'aria-selected', isThere ? String(hit) : null)
    setAttribute(node, 'aria-disabled', isThere ? null : 'true')
    const { steps_per_beat } = song.grid
    const inBar = step % song.stepsPerBar
    const where = `${meta.kit.voices[voice].label}, bar ${Math.floor(step / song.stepsPerBar) + 1}, beat ${Math.floor(inBar / steps_per_beat) + 1}.${(inBar % steps_per_beat) + 1}`
    const strokes = hit ? songs.strokesOf(song, cell) : 0
    setAttribute(node, 'data-strokes', strokes > 1 ? String(Math.min(strokes, songs.MOST_STROKES)) : null)
    const many = strokes > 1 ? `, ${strokes} strokes` : ''
    const what = !isThere ? 'no such bar' : hit ? `hit, ${Math.round(song.velocity[cell] * 100)} percent${many}` : 'silent'
    setAttribute(node, 'aria-label', `${where}, ${what}${locked ? ', locked' : ''}`)
  }

  private edges(step: number): string {
    return step % stepsPerPulse(this.app.song.grid) === 0 ? ' starts-beat' : ''
  }

  private build(columns: number): void {
    // Between pulses and between bars stands a column without cells.
    const pulse = stepsPerPulse(this.app.song.grid)
    const size = this.app.song.stepsPerBar
    const tracks: string[] = []
    const places: number[] = []
    for (let place = 0; place < columns; place++) {
      if (place && (place % size) % pulse === 0) tracks.push(place % size === 0 ? 'var(--bar-gap)' : 'var(--beat-gap)')
      tracks.push('minmax(0, 1fr)')
      places.push(tracks.length)
    }
    this.grid.style.setProperty('--tracks', tracks.join(' '))
    const placed = (node: HTMLElement, place: number) => {
      node.style.gridColumn = String(places[place])
      return node
    }
    this.columns = Array.from({ length: columns }, (_, place) => placed(element('div', { class: 'column' }), place))
    this.head.replaceChildren(...this.columns)
    this.cells = this.rows.map((row) => {
      const cells = Array.from({ length: columns }, (_, place) => placed(element('div', { role: 'gridcell', class: 'cell', tabindex: '-1' }), place))
      row.replaceChildren(row.firstElementChild!, ...cells)
      return cells
    })
    setAttribute(this.grid, 'aria-colcount', String(columns + 1))
  }

  /** Marks the step that sounds; -1 for none. */
  showPlaying(step: number): void {
    if (step === this.playing) return
    const { first } = this.inView
    const mark = (at: number, on: boolean) => {
      const place = at - first
      if (at < 0 || place < 0 || place >= this.columns.length) return
      this.columns[place].classList.toggle('now', on)
      for (const row of this.cells) row[place].toggleAttribute('data-now', on)
    }
    for (const marked of this.grid.querySelectorAll('[data-now], .now')) {
      marked.removeAttribute('data-now')
      marked.classList.remove('now')
    }
    mark(step, true)
    this.playing = step
  }

  // ---------------------------------------------------------------- focus

  private rove(): void {
    const { song } = this.app
    const { first } = this.inView
    const last = Math.min(first + this.columns.length, songs.steps(song)) - 1
    this.focus.step = Math.max(first, Math.min(this.focus.step, last))
    this.cells.forEach((row, voice) => row.forEach((node, place) => {
      setAttribute(node, 'tabindex', voice === this.focus.voice && first + place === this.focus.step ? '0' : '-1')
    }))
  }

  private setFocus(voice: number, step: number): void {
    this.focus = { voice, step }
    this.rove()
  }

  private go(voice: number, step: number): void {
    const { app } = this
    this.focus = {
      voice: Math.max(0, Math.min(voice, app.song.voices - 1)),
      step: Math.max(0, Math.min(step, songs.steps(app.song) - 1)),
    }
    app.showStep(this.focus.step)
    this.show()
    const place = this.focus.step - this.inView.first
    this.cells[this.focus.voice][place].focus()
  }

  private key(event: KeyboardEvent): void {
    const { app, focus } = this
    const size = app.song.stepsPerBar
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const cell = focus.step * app.song.voices + focus.voice
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [focus.voice, focus.step - 1],
      ArrowRight: [focus.voice, focus.step + 1],
      ArrowUp: [focus.voice - 1, focus.step],
      ArrowDown: [focus.voice + 1, focus.step],
      Home: [focus.voice, focus.step - (focus.step % size)],
      End: [focus.voice, focus.step - (focus.step % size) + size - 1],
      PageUp: [focus.voice, focus.step - size],
      PageDown: [focus.voice, focus.step + size],
    }
    if (event.key in moves) this.go(...moves[event.key])
    else if (event.key === ' ' || event.key === 'Enter') {
      if (app.settings.mode === 'lock') this.lock(cell, app.song.locked[cell] ? 0 : 1, null)
      else this.write(cell, app.song.hits[cell] ? 0 : 1, null)
    } else if (event.key === 'x') this.lock(cell, app.song.locked[cell] ? 0 : 1, null)
    else if (event.key === '[' || event.key === ']') this.louder(cell, event.key === ']' ? LOUDER : -LOUDER)
    else if (event.key === 'r') this.addStroke(cell)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  // ---------------------------------------------------------------- writing

  private write(cell: number, value: 0 | 1, stroke: string | null): void {
    const { app } = this
    if (app.song.hits[cell] === value) return
    app.edit(songs.setHits(app.song, [cell], value), stroke)
    if (value) this.audition(cell % app.song.voices, songs.DEFAULT_VELOCITY)
  }

  private lock(cell: number, value: 0 | 1, stroke: string | null): void {
    const { app } = this
    if (app.song.locked[cell] !== value) app.edit(songs.setLocks(app.song, [cell], value), stroke)
  }

  private louder(cell: number, by: number): void {
    const { app } = this
    if (!app.song.hits[cell]) return
    app.edit(songs.setVelocity(app.song, cell, app.song.velocity[cell] + by), `loud ${cell}`)
    this.audition(cell % app.song.voices, app.song.velocity[cell])
  }

  /** One stroke more, and after the most a single one again. */
  private addStroke(cell: number): void {
    const { app } = this
    const strokes = songs.strokesOf(app.song, cell)
    if (!strokes) return
    app.edit(songs.setStrokes(app.song, cell, strokes >= songs.MOST_STROKES ? 1 : strokes + 1))
    this.audition(cell % app.song.voices, app.song.velocity[cell])
  }

  private placeOf(target: Element | null): { voice: number; step: number; cell: number } | null {
    const node = target?.closest<HTMLElement>('.cell')
    const row = node?.parentElement
    if (!node || !row) return null
    const voice = this.rows.indexOf(row)
    const step = this.inView.first + this.cells[voice]?.indexOf(node)
    if (voice < 0 || step >= songs.steps(this.app.song)) return null
    return { voice, step, cell: step * this.app.song.voices + voice }
  }

  private press(event: PointerEvent): void {
    const at = this.placeOf(event.target as Element)
    if (!at || event.button !== 0) return
    const { mode } = this.app.settings
    if (event.pointerType === 'touch' && mode !== 'loud') {
      this.touched = { event, mode }
      return
    }
    this.begin(at, event.shiftKey ? 'lock' : mode, event.clientY)
    this.setFocus(at.voice, at.step)
    if (event.pointerType !== 'touch') this.grid.setPointerCapture(event.pointerId)
  }

  private begin({ cell }: { cell: number }, mode: Mode, y: number): void {
    const { app } = this
    this.strokes++
    if (mode === 'strokes') this.addStroke(cell)
    else if (mode === 'loud') {
      if (app.song.hits[cell]) this.drag = { cell, y, velocity: app.song.velocity[cell] }
    } else {
      const now = mode === 'lock' ? app.song.locked : app.song.hits
      this.stroke = { value: now[cell] ? 0 : 1, name: `${mode} ${this.strokes}` }
      this.paint(cell)
    }
  }

  /** What the finger meant, as it did not scroll. */
  private touch(): void {
    const { event, mode } = this.touched!
    this.touched = null
    const at = this.placeOf(event.target as Element)
    if (at) this.begin(at, mode, event.clientY)
  }

  private move(event: PointerEvent): void {
    if (this.touched && Math.abs(event.clientX - this.touched.event.clientX) > TOUCH_SLOP) this.touch()
    if (this.drag) {
      const { cell, y, velocity } = this.drag
      const { app } = this
      app.edit(songs.setVelocity(app.song, cell, velocity + (y - event.clientY) / FULL_DRAG), `drag ${this.strokes}`)
    } else if (this.stroke) {
      const at = this.placeOf(document.elementFromPoint(event.clientX, event.clientY))
      if (at) this.paint(at.cell)
    }
  }

  private paint(cell: number): void {
    const { value, name } = this.stroke!
    if (name.startsWith('lock')) this.lock(cell, value, name)
    else this.write(cell, value, name)
  }

  private release(): void {
    if (this.touched) this.touch()
    if (this.drag) this.audition(this.drag.cell % this.app.song.voices, this.app.song.velocity[this.drag.cell])
    this.stroke = this.drag = null
    this.app.history.seal()
  }
}
