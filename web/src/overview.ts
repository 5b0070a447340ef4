/** All bars, small, in phrases: what they hold, what is asked of them, and the curve of density that one can draw. */

import { type App, MOST_DENSITY } from './app'
import { element, setAttribute, setPressed, setText } from './dom'
import * as songs from './song'
import { streamsOf } from './voices'

/** By which the keyboard changes the density that is asked. */
const KEY_STEP = 0.01
const FILL = 2

interface Bar {
  node: HTMLElement
  button: HTMLButtonElement
  canvas: HTMLCanvasElement
  tag: HTMLElement
  lane: HTMLElement
  /** What its picture shows. */
  drawn: string
}

function shape(tag: string, attributes: Record<string, string>): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

export class Overview {
  private bars: Bar[] = []
  private anchor = 0
  private stroke = 0
  private isDrawing = false
  /** A finger draws point by point, as it scrolls too. */
  private isTapping = false
  private playing = -1
  /** First bar of the view that was revealed last. */
  private shown = 0
  private readonly streams
  private readonly curve = shape('svg', { id: 'curve', 'aria-hidden': 'true' })
  private colours = ''

  constructor(private readonly root: HTMLElement, private readonly strip: HTMLElement, private readonly app: App) {
    this.streams = streamsOf(app.meta)
    root.append(this.curve)
    root.addEventListener('click', (event) => this.click(event))
    root.addEventListener('keydown', (event) => this.key(event))
    root.addEventListener('pointerdown', (event) => this.press(event))
    root.addEventListener('pointermove', (event) => { if (this.isDrawing) this.draw(event) })
    for (const name of ['pointerup', 'pointercancel'] as const) {
      root.addEventListener(name, (event) => {
        if (this.isTapping && name === 'pointerup') this.draw(event) // else the finger scrolls: nothing is drawn
        this.isDrawing = this.isTapping = false
        app.history.seal()
      })
    }
  }

  show(): void {
    const { app } = this
    const { song } = app
    const ghosts = app.settings.endless ? 0 : Math.min(app.settings.bars, songs.MOST_BARS - app.bars)
    const count = app.bars + ghosts
    const perPhrase = song.grid.bars_per_phrase
    while (this.bars.length > count) this.bars.pop()!.node.remove()
    while (this.bars.length < count) this.bars.push(this.make(this.bars.length % perPhrase === 0 ? ' starts-phrase' : ''))
    const style = getComputedStyle(document.documentElement)
    this.colours = ['--low', '--mid', '--high'].map((name) => style.getPropertyValue(name)).join(' ')
    this.bars.forEach((bar, number) => this.showBar(bar, number, song))
    this.showCurve(song)
    const { first } = app.view
    const [from, to] = [this.bars[first], this.bars[Math.min(first + app.view.bars, app.bars) - 1]]
    if (first !== this.shown && from && to) this.reveal(to.node, from.node)
    this.shown = first
  }

  /** What is asked, from bar to bar; it is broken where a bar is left open. */
  private showCurve(song: songs.Song): void {
    const lines: string[] = []
    const dots: SVGElement[] = []
    const top = this.bars[0].lane.offsetTop
    let wasOpen = true
    this.bars.forEach(({ node, lane }, number) => {
      const { density } = songs.ask(song, number)
      if (density !== null) {
        const x = node.offsetLeft + node.offsetWidth / 2
        const y = (1 - Math.min(1, density / MOST_DENSITY)) * lane.clientHeight
        lines.push(`${wasOpen ? 'M' : 'L'}${x} ${y.toFixed(1)}`)
        dots.push(shape('circle', { cx: String(x), cy: y.toFixed(1), r: '3.5' }))
      }
      wasOpen = density === null
    })
    this.curve.style.top = `${top}px`
    this.curve.replaceChildren(shape('path', { d: lines.join('') }), ...dots)
  }

  private make(extra: string): Bar {
    const canvas = element('canvas', { width: '96', height: '60', 'aria-hidden': 'true' })
    const tag = element('span', { class: 'tag' })
    const button = element('button', { class: 'bar-button' }, canvas, tag)
    const lane = element('div', { class: 'lane', 'aria-hidden': 'true' }, element('div', { class: 'measured' }))
    const node = element('div', { class: `bar${extra}` }, button, lane)
    this.root.append(node)
    return { node, button, canvas, tag, lane, drawn: '' }
  }

  private showBar(bar: Bar, number: number, song: songs.Song): void {
    const { app } = this
    const isThere = number < app.bars
    const ask = songs.ask(song, number)
    const [first, last] = app.selection
    const isSelected = isThere && number >= first && number < last
    bar.node.classList.toggle('ghost', !isThere)
    bar.node.classList.toggle('in-view', number >= app.view.first && number < app.view.first + app.view.bars)
    bar.button.disabled = !isThere
    setPressed(bar.button, isSelected)
    const labels = app.meta.labels
    const before = number > 0 ? songs.ask(song, number - 1) : songs.OPEN
    const words = [
      ask.style && (ask.style !== before.style) ? labels?.style?.[ask.style - 1] : '',
      ask.section && (ask.section !== before.section) ? labels?.section?.[ask.section - 1] : '',
      ask.fill === FILL ? 'fill' : '',
    ].filter(Boolean)
    setText(bar.tag, words.join(' ') || String(number + 1))
    bar.tag.classList.toggle('named', words.length > 0)
    const density = isThere ? songs.density(song, number) : 0
    const asked = ask.density === null ? '' : `, planned density ${Math.round(ask.density * 100)} percent`
    setAttribute(bar.button, 'aria-label', `Bar ${number + 1}${words.length ? `, ${words.join(', ')}` : ''}, density ${Math.round(density * 100)} percent${asked}`)
    const measured = bar.lane.firstElementChild as HTMLElement
    measured.style.height = `${Math.min(1, density / MOST_DENSITY) * 100}%`
    if (isThere) this.picture(bar, number, song)
    else if (bar.drawn) {
      bar.canvas.getContext('2d')!.clearRect(0, 0, bar.canvas.width, bar.canvas.height)
      bar.drawn = ''
    }
  }

  private picture(bar: Bar, number: number, song: songs.Song): void {
    const size = song.stepsPerBar * song.voices
    const from = number * size
    let hash = 0
    for (let cell = from; cell < from + size; cell++) {
      hash = (Math.imul(hash, 31) + Math.round(song.velocity[cell] * song.hits[cell] * 127)) | 0
    }
    const key = `${this.colours} ${hash}`
    if (key === bar.drawn) return
    bar.drawn = key
    const { canvas } = bar
    const context = canvas.getContext('2d')!
    const [low, mid, high] = this.colours.split(' ')
    const [width, height] = [canvas.width / song.stepsPerBar, canvas.height / song.voices]
    context.clearRect(0, 0, canvas.width, canvas.height)
    for (let step = 0; step < song.stepsPerBar; step++) {
      for (let voice = 0; voice < song.voices; voice++) {
        const cell = from + step * song.voices + voice
        if (!song.hits[cell]) continue
        context.globalAlpha = 0.35 + 0.65 * song.velocity[cell]
        context.fillStyle = { low, mid, high }[this.streams[voice]]
        context.fillRect(step * width + 0.5, (song.voices - 1 - voice) * height + 0.5, width - 1, height - 1)
      }
    }
    context.globalAlpha = 1
  }

  showPlaying(bar: number): void {
    if (bar === this.playing) return
    this.bars[this.playing]?.node.classList.remove('now')
    const node = this.bars[bar]?.node
    node?.classList.add('now')
    this.playing = bar
    if (node) this.reveal(node)
  }

  /** Brings bars into the strip. */
  private reveal(last: HTMLElement, first = last): void {
    const { strip } = this
    const left = first.offsetLeft
    const right = last.offsetLeft + last.offsetWidth
    if (left < strip.scrollLeft || right > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = left - 24
  }

  // ---------------------------------------------------------------- hands

  private numberOf(target: Element): number {
    const node = target.closest('.bar')
    return this.bars.findIndex((bar) => bar.node === node)
  }

  private click(event: MouseEvent): void {
    const button = (event.target as Element).closest('.bar-button')
    if (!button) return
    const number = this.numberOf(button)
    if (event.shiftKey) this.app.select(Math.min(this.anchor, number), Math.max(this.anchor, number) + 1)
    else {
      this.anchor = number
      this.app.select(number, number + 1)
    }
    this.app.show(number)
  }

  private key(event: KeyboardEvent): void {
    const number = this.numberOf(event.target as Element)
    if (number < 0 || event.ctrlKey || event.metaKey || event.altKey) return
    const { app } = this
    const { song } = app
    const move = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0
    const more = event.key === 'ArrowUp' ? 1 : event.key === 'ArrowDown' ? -1 : 0
    if (move) {
      const next = this.bars[number + move]
      if (next && !next.button.disabled) next.button.focus()
      if (next && event.shiftKey) app.select(Math.min(this.anchor, number + move), Math.max(this.anchor, number + move) + 1)
    } else if (more) {
      const now = songs.ask(song, number).density ?? songs.density(song, number)
      const density = Math.max(0, Math.min(Math.max(now, MOST_DENSITY), now + more * KEY_STEP))
      app.edit(songs.setAsks(song, number, number + 1, { density }), `density key ${number}`)
    } else if (event.shiftKey && (event.key === 'Delete' || event.key === 'Backspace')) {
      app.edit(songs.setAsks(song, number, number + 1, { density: null }))
    } else return
    event.preventDefault()
  }

  private press(event: PointerEvent): void {
    if (!(event.target as Element).closest('.lane') || event.button !== 0) return
    this.stroke++
    this.isTapping = event.pointerType === 'touch'
    if (this.isTapping) return
    this.isDrawing = true
    this.root.setPointerCapture(event.pointerId)
    this.draw(event)
    event.preventDefault()
  }

  private draw(event: PointerEvent): void {
    const { app } = this
    const number = this.bars.findIndex(({ node }) => {
      const { left, right } = node.getBoundingClientRect()
      return event.clientX >= left && event.clientX < right
    })
    if (number < 0) return
    const { bottom, height } = this.bars[number].lane.getBoundingClientRect()
    const share = Math.max(0, Math.min(1, (bottom - event.clientY) / height))
    app.edit(songs.setAsks(app.song, number, number + 1, { density: share * MOST_DENSITY }), `draw ${this.stroke}`)
  }
}
