/** The grid: voices down, steps across. Arrow keys move, Enter writes; the pointer paints. */

import type { App } from './app'
import { element, setAttribute, setText } from './dom'
import { nameOf, stepMs, stepsPerPulse } from './grids'
import type { Mode } from './settings'
import * as songs from './song'
import type { Song } from './song'
import { stepsInView } from './viewing'
import { streamsOf } from './voices'

/** What a key changes: loudness, steps, and chance. */
const LOUDER = 0.1
const LATER = 0.02
const LIKELIER = 0.1
/** Pixels of a drag from silence to full loudness, from never to always, and of a step. */
const FULL_DRAG = 120
const STEP_DRAG = 60
/** Pixels between the places of a stroke that are looked at: less than any cell has. */
const STROKE_GAP = 3
/** Pixels that a finger moves before it draws. */
const TOUCH_SLOP = 8

export class Sequencer {
  private readonly rows: HTMLElement[]
  private readonly head: HTMLElement
  private cells: HTMLElement[][] = []
  private columns: HTMLElement[] = []
  private focus = { voice: 0, step: 0 }
  private stroke: { value: 0 | 1; name: string; x: number; y: number } | null = null
  private drag: { cell: number; x: number; y: number; song: Song; mode: Mode } | null = null
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
    const chance = hit ? songs.chanceOf(song, cell) : 1
    node.style.setProperty('--chance', chance.toFixed(2))
    setAttribute(node, 'data-chance', chance < 1 ? '' : null)
    const many = `${strokes > 1 ? `, ${strokes} strokes` : ''}${hit ? this.timing(cell) : ''}${chance < 1 ? `, ${often(chance)}` : ''}`
    const what = !isThere ? 'no such bar' : hit ? `hit, ${Math.round(song.velocity[cell] * 100)} percent${many}` : 'silent'
    setAttribute(node, 'aria-label', `${where}, ${what}${locked ? ', locked' : ''}`)
  }

  /** How early or late a hit is by itself, in words; nothing below a millisecond. */
  private timing(cell: number): string {
    const { song } = this.app
    const ms = Math.round(song.offset[cell] * stepMs(song.grid, song.tempo))
    return ms ? `, ${Math.abs(ms)} ms ${ms < 0 ? 'early' : 'late'}` : ''
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

  /** Moves the keys here, to the cell that had them last. */
  takeFocus(): void {
    this.go(this.focus.voice, this.focus.step)
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
    else if (event.key === 'Enter') {
      if (app.settings.mode === 'lock') this.lock([cell], app.song.locked[cell] ? 0 : 1, null)
      else this.write([cell], app.song.hits[cell] ? 0 : 1, null)
    } else if (event.key === 'Delete' || event.key === 'Backspace') this.write([cell], 0, null)
    else if (event.key === 'x') this.lock([cell], app.song.locked[cell] ? 0 : 1, null)
    else if (event.key === '[' || event.key === ']') this.louder(cell, event.key === ']' ? LOUDER : -LOUDER)
    else if (event.key === ',' || event.key === '.') this.later(cell, event.key === '.' ? LATER : -LATER)
    else if (event.key === '-' || event.key === '+') this.likelier(cell, event.key === '+' ? LIKELIER : -LIKELIER)
    else if (event.key === 'r') this.addStroke(cell)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  // ---------------------------------------------------------------- writing

  private write(cells: number[], value: 0 | 1, stroke: string | null): void {
    const { app } = this
    const others = cells.filter((cell) => app.song.hits[cell] !== value)
    if (!others.length) return
    app.edit(songs.setHits(app.song, others, value), stroke)
    if (value) this.audition(others.at(-1)! % app.song.voices, songs.DEFAULT_VELOCITY)
  }

  private lock(cells: number[], value: 0 | 1, stroke: string | null): void {
    const { app } = this
    const others = cells.filter((cell) => app.song.locked[cell] !== value)
    if (others.length) app.edit(songs.setLocks(app.song, others, value), stroke)
  }

  private louder(cell: number, by: number): void {
    const { app } = this
    if (!app.song.hits[cell]) return
    app.edit(songs.setVelocity(app.song, cell, app.song.velocity[cell] + by), `loud ${cell}`)
    this.audition(cell % app.song.voices, app.song.velocity[cell])
  }

  private later(cell: number, by: number): void {
    const { app } = this
    app.edit(songs.setOffset(app.song, cell, app.song.offset[cell] + by), `late ${cell}`)
    this.tell(cell)
  }

  private likelier(cell: number, by: number): void {
    const { app } = this
    app.edit(songs.setChance(app.song, cell, Math.round((songs.chanceOf(app.song, cell) + by) * 100) / 100), `chance ${cell}`)
    this.tell(cell)
  }

  /** Says when and how often a hit is played. */
  private tell(cell: number): void {
    const { app } = this
    if (!app.song.hits[cell]) return
    const when = this.timing(cell).slice(2) || 'on the grid'
    app.say(`${app.meta.kit.voices[cell % app.song.voices].label}: ${when}, ${often(songs.chanceOf(app.song, cell))}`)
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
    if (event.pointerType === 'touch' && !isDragged(mode)) {
      this.touched = { event, mode }
      return
    }
    this.begin(at, event.shiftKey ? 'lock' : mode, event)
    this.setFocus(at.voice, at.step)
    if (event.pointerType !== 'touch') this.grid.setPointerCapture(event.pointerId)
  }

  private begin({ cell }: { cell: number }, mode: Mode, { clientX: x, clientY: y }: PointerEvent): void {
    const { app } = this
    this.strokes++
    if (mode === 'strokes') this.addStroke(cell)
    else if (isDragged(mode)) {
      if (app.song.hits[cell]) this.drag = { cell, x, y, song: app.song, mode }
    } else {
      const now = mode === 'lock' ? app.song.locked : app.song.hits
      this.stroke = { value: now[cell] ? 0 : 1, name: `${mode} ${this.strokes}`, x, y }
      this.paint([cell])
    }
  }

  /** What the finger meant, as it did not scroll. */
  private touch(): void {
    const { event, mode } = this.touched!
    this.touched = null
    const at = this.placeOf(event.target as Element)
    if (at) this.begin(at, mode, event)
  }

  private move(event: PointerEvent): void {
    if (this.touched && Math.abs(event.clientX - this.touched.event.clientX) > TOUCH_SLOP) this.touch()
    if (this.drag) this.pull(this.drag, event)
    else if (this.stroke) {
      // A browser tells of a pointer once a frame: what is between is in its coalesced events, or on a line.
      for (const { clientX, clientY } of event.getCoalescedEvents?.() ?? []) this.strokeTo(clientX, clientY)
      this.strokeTo(event.clientX, event.clientY)
    }
  }

  private pull({ cell, x, y, song, mode }: NonNullable<Sequencer['drag']>, event: PointerEvent): void {
    const { app } = this
    const [right, up] = [event.clientX - x, y - event.clientY]
    const pulled = {
      loud: () => songs.setVelocity(app.song, cell, song.velocity[cell] + up / FULL_DRAG),
      timing: () => songs.setOffset(app.song, cell, song.offset[cell] + right / STEP_DRAG),
      chance: () => songs.setChance(app.song, cell, Math.round(100 * (songs.chanceOf(song, cell) + up / FULL_DRAG)) / 100),
    }[mode as 'loud' | 'timing' | 'chance']
    app.edit(pulled(), `drag ${this.strokes}`)
    if (mode !== 'loud') this.tell(cell)
  }

  /** Paints all cells on the line from where the stroke was. */
  private strokeTo(x: number, y: number): void {
    const from = this.stroke!
    const places = Math.max(1, Math.ceil(Math.hypot(x - from.x, y - from.y) / STROKE_GAP))
    const rows = this.cells.map(([first]) => first.getBoundingClientRect())
    const columns = this.cells[0].map((node) => node.getBoundingClientRect())
    const found = new Set<number>()
    for (let place = 1; place <= places; place++) {
      const [left, top] = [from.x + ((x - from.x) * place) / places, from.y + ((y - from.y) * place) / places]
      const voice = rows.findIndex((box) => top >= box.top && top < box.bottom)
      const step = this.inView.first + columns.findIndex((box) => left >= box.left && left < box.right)
      if (voice >= 0 && step >= this.inView.first && step < songs.steps(this.app.song)) found.add(step * this.app.song.voices + voice)
    }
    this.stroke = { ...from, x, y }
    this.paint([...found])
  }

  private paint(cells: number[]): void {
    const { value, name } = this.stroke!
    if (name.startsWith('lock')) this.lock(cells, value, name)
    else this.write(cells, value, name)
  }

  private release(): void {
    if (this.touched) this.touch()
    if (this.drag?.mode === 'loud') this.audition(this.drag.cell % this.app.song.voices, this.app.song.velocity[this.drag.cell])
    this.stroke = this.drag = null
    this.app.history.seal()
  }
}

/** Whether hits are dragged in a mode, so that a finger does not scroll. */
export const isDragged = (mode: Mode) => mode === 'loud' || mode === 'timing' || mode === 'chance'

const often = (chance: number) => (chance < 1 ? `played ${Math.round(chance * 100)} percent of the time` : 'always played')
