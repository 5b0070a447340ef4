/** The row of patterns: bars with a name, and the order in which they are played. */

import type { App } from './app'
import { resized } from './bars'
import { byId, element, setPressed, setText } from './dom'
import { inOrder, MOST_LETTERS, MOST_ORDER, MOST_PATTERNS, orderInWords, withoutPattern, withPattern } from './patterns'
import { performed } from './performing'
import { named } from './placing'
import { plainMixer } from './settings'
import { bars, MOST_BARS } from './song'

export class Chaining {
  private readonly row = byId('patterns')
  private readonly list = byId('pattern-list')
  private readonly order = byId('pattern-order')
  private readonly name = byId<HTMLInputElement>('pattern-name')
  /** What the row shows. */
  private shown = ''

  constructor(private readonly app: App) {
    this.name.maxLength = MOST_LETTERS
    byId('make-pattern').addEventListener('click', () => this.make())
    byId('ordered').addEventListener('click', () => app.set({ ordered: !app.settings.ordered, endless: false }))
    byId('unroll').addEventListener('click', () => this.unroll())
    byId('forget-pattern').addEventListener('click', () => this.forget())
    this.name.addEventListener('change', () => this.rename())
  }

  private make(): void {
    const { app } = this
    if (!app.isSelected()) return
    const song = withPattern(app.song, ...app.selection)
    if (song === app.song) {
      app.say(song.patterns.length >= MOST_PATTERNS ? `A song has at most ${MOST_PATTERNS} patterns` : `${named(...app.selection)} are a pattern already`)
      return
    }
    app.edit(song)
    app.say(`Pattern ${song.patterns.at(-1)!.name} is ${named(...app.selection)}; it is the last in the order`)
  }

  private add(place: number): void {
    const { app } = this
    const { order, patterns } = app.song
    const next = { ...app.song, order: [...order, place] }
    if (order.length >= MOST_ORDER || !inOrder(next)) app.say(`An order has at most ${MOST_ORDER} patterns, and ${MOST_BARS} bars`)
    else this.edit(next, `${patterns[place].name} is played once more`)
  }

  private takeOut(at: number): void {
    const { song } = this.app
    this.edit({ ...song, order: song.order.toSpliced(at, 1) }, `${song.patterns[song.order[at]].name} is out of the order`)
    this.focus(Math.min(at, song.order.length - 2))
  }

  private shift(at: number, by: number): void {
    const { song } = this.app
    if (at + by < 0 || at + by >= song.order.length) return
    this.edit({ ...song, order: song.order.toSpliced(at, 1).toSpliced(at + by, 0, song.order[at]) }, '')
    this.focus(at + by)
  }

  private edit(song: App['song'], says: string): void {
    this.app.edit(song)
    this.app.say(`${says}${says ? ': ' : ''}${orderInWords(song) || 'the order is empty'}`)
  }

  private focus(at: number): void {
    this.show()
    ;(this.order.children[at] as HTMLElement | undefined)?.focus()
  }

  /** The pattern whose bars are selected, or -1. */
  private get chosen(): number {
    const [from, to] = this.app.selection
    return this.app.song.patterns.findIndex(({ first, last }) => first === from && last === to)
  }

  private rename(): void {
    const { app, chosen, name } = this
    const { patterns } = app.song
    const text = name.value.trim()
    if (chosen < 0 || !text || text === patterns[chosen].name) return
    if (patterns.some((pattern) => pattern.name === text)) app.say(`Another pattern is called ${text}`)
    else app.edit({ ...app.song, patterns: patterns.with(chosen, { ...patterns[chosen], name: text }) })
    this.show()
  }

  private forget(): void {
    const { app, chosen } = this
    if (chosen < 0) return
    const { name } = app.song.patterns[chosen]
    app.edit(withoutPattern(app.song, chosen))
    app.say(`${name} is no pattern any more; its bars stay`)
    byId('make-pattern').focus()
  }

  /** The song becomes what is played in order. */
  private unroll(): void {
    const { app } = this
    const { song } = app
    const order = inOrder(song)
    if (!order) return
    const asks = order.map((bar) => song.asks[bar])
    const all = performed({ ...song, chances: new Map() }, plainMixer(song.voices), order)
    const size = song.stepsPerBar * song.voices
    const chances = new Map(order.flatMap((bar, place) => (
      [...song.chances].filter(([cell]) => Math.floor(cell / size) === bar).map(([cell, chance]) => [cell + (place - bar) * size, chance] as const)
    )))
    const locked = new Uint8Array(all.hits.length)
    order.forEach((bar, place) => locked.set(song.locked.subarray(bar * size, (bar + 1) * size), place * size))
    const { hits, velocity, offset, openness, strokes } = all
    app.edit({ ...resized(song, order.length), hits, velocity, offset, openness, strokes, chances, locked, asks, patterns: [], order: [] })
    app.set({ ordered: false })
    app.say(`The order is written out: ${bars(app.song)} bars, which can be continued; Undo brings the patterns back`)
  }

  show(): void {
    const { app, chosen } = this
    const { patterns, order } = app.song
    const isThere = patterns.length > 0
    this.row.hidden = !isThere
    setPressed(byId('ordered'), app.settings.ordered && order.length > 0)
    byId<HTMLButtonElement>('ordered').disabled = byId<HTMLButtonElement>('unroll').disabled = !inOrder(app.song)
    byId('pattern-edit').hidden = chosen < 0
    if (chosen >= 0 && document.activeElement !== this.name) this.name.value = patterns[chosen].name
    const now = JSON.stringify([patterns, order])
    if (now !== this.shown) {
      this.shown = now
      this.list.replaceChildren(...patterns.map((pattern, place) => this.pattern(pattern, place)))
      this.order.replaceChildren(...order.map((place, at) => this.place(patterns[place].name, at)))
      setText(byId('order-name'), order.length ? 'Order' : 'Order: empty')
    }
    patterns.forEach((_, place) => setPressed(this.list.children[place].firstElementChild!, place === chosen))
  }

  private pattern({ name, first, last }: App['song']['patterns'][number], place: number): HTMLElement {
    const pick = element('button', { title: `Select ${named(first, last)}` }, element('b', {}, name), ` ${named(first, last).replace(/^\w+ /, '')}`)
    const add = element('button', { 'aria-label': `Play ${name} once more`, title: `Add ${name} to the order` }, '+')
    pick.addEventListener('click', () => {
      this.app.select(first, last)
      this.app.show(first)
    })
    add.addEventListener('click', () => this.add(place))
    return element('span', { class: 'pattern' }, pick, add)
  }

  private place(name: string, at: number): HTMLElement {
    const button = element('button', { 'aria-label': `${name}, place ${at + 1}: take it out of the order`, title: 'A click takes it out; arrow keys move it' }, name)
    button.addEventListener('click', () => this.takeOut(at))
    button.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (!by || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      this.shift(at, by)
    })
    return button
  }
}
