/** What is asked of the bars, as the model takes it. */

import type { Meta } from './meta'
import type { Asked } from './protocol'
import type { Ask } from './song'

const BEAT = 1
const FILL = 2

/** Whether anything but the tempo is asked of any bar: otherwise the model plays as learnt, and guidance counts for nothing. */
export function asksBeyondTempo(meta: Meta, asked: Asked | null): boolean {
  if (!asked) return false
  const tempo = meta.numbers.indexOf('tempo_bpm')
  return asked.labels.some((label) => label > 0)
    || asked.numbers.some((value, i) => i % meta.numbers.length !== tempo && !Number.isNaN(value))
}

/**
 * The plan of all bars from the first on, or null where nothing is asked from bar `first` on.
 *
 * Where some bars are fills, the others are asked to be none, as in `hypermeter.play.plan`.
 */
export function askedOf(meta: Meta, asks: Ask[], first: number): Asked | null {
  if (!meta.labels) return null
  const isAsked = ({ section, style, fill, density }: Ask) => section || style || fill || density !== null
  if (!asks.slice(first).some(isAsked)) return null
  const someFill = asks.some(({ fill }) => fill === FILL)
  const labels: number[] = []
  const numbers: number[] = []
  for (const { section, style, fill, density } of asks) {
    for (const kind of meta.kinds) {
      labels.push(kind === 'section' ? section : kind === 'style' ? style : kind === 'fill' ? fill || (someFill ? BEAT : 0) : 0)
    }
    for (const name of meta.numbers) numbers.push(name === 'density' ? density ?? NaN : NaN)
  }
  return { labels, numbers }
}
