/** Takes to choose from: a picture of each, and the one that is chosen is the song. */

import type { App, Offer } from './app'
import { byId, element } from './dom'
import { named } from './placing'
import { sketch } from './sketch'
import { streamsOf } from './voices'

export class Chooser {
  private shown: Offer | null = null
  private readonly streams

  constructor(private readonly app: App) {
    this.streams = streamsOf(app.meta)
    byId('settle').addEventListener('click', () => {
      app.settle()
      byId('continue').focus()
    })
    const takes = byId<HTMLSelectElement>('takes')
    takes.addEventListener('change', () => app.set({ takes: Number(takes.value) }))
  }

  show(): void {
    const { offer, settings } = this.app
    byId<HTMLSelectElement>('takes').value = String(settings.takes)
    byId('chooser').hidden = !offer
    if (offer && offer !== this.shown) this.fill(offer)
    this.shown = offer
    offer?.songs.forEach((song, number) => { byId<HTMLInputElement>(`take-${number}`).checked = song === this.app.song })
  }

  private fill(offer: Offer): void {
    byId('chooser-bars').textContent = named(...offer.bars)
    byId('offers').replaceChildren(...offer.takes.map(({ seed, distance }, number) => {
      const input = element('input', { type: 'radio', name: 'take', id: `take-${number}`, value: String(number) })
      input.addEventListener('change', () => this.app.choose(number))
      const apart = `${Math.round(distance * 100)} %`
      return element(
        'label', { title: `Take ${seed}: ${apart} of its hits are others than in the take that is most like it` }, input,
        element('span', { class: 'offer' }, this.picture(offer, number), element('b', {}, `Take ${seed}`), element('span', { class: 'hint' }, `${apart} apart`)),
      )
    }))
  }

  private picture({ songs, bars: [first, last] }: Offer, number: number): SVGElement {
    const { hits, velocity, voices, stepsPerBar } = songs[number]
    const [from, to] = [first * stepsPerBar * voices, Math.min(last * stepsPerBar * voices, hits.length)]
    const marks = [...hits.subarray(from, to).keys()].filter((i) => hits[from + i]).map((i) => {
      const voice = i % voices
      return { step: Math.floor(i / voices), row: voice, loud: velocity[from + i], stream: this.streams[voice] }
    })
    return sketch(marks, (to - from) / voices, voices)
  }
}
