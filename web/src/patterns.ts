/** Patterns: bars with a name, and the order in which they are played. */

import { MOST_BARS, type Song } from './song'

/** Bars [first, last). */
export interface Pattern {
  name: string
  first: number
  last: number
}

export const MOST_PATTERNS = 26
/** Patterns of an order. */
export const MOST_ORDER = 128
export const MOST_LETTERS = 12

type Patterned = Pick<Song, 'patterns' | 'order'>

/** The bars in the order of the patterns; null where there is no order, or it has too many bars. */
export function inOrder({ patterns, order }: Patterned): number[] | null {
  const found = order.flatMap((place) => {
    const { first, last } = patterns[place]
    return Array.from({ length: last - first }, (_, bar) => first + bar)
  })
  return found.length && found.length <= MOST_BARS ? found : null
}

/** With bars [first, last) as a pattern, named by the first letter that is free; the song itself where it has them as one, or too many. */
export function withPattern(song: Song, first: number, last: number): Song {
  const { patterns, order } = song
  if (patterns.length >= MOST_PATTERNS || patterns.some((each) => each.first === first && each.last === last)) return song
  const names = new Set(patterns.map(({ name }) => name))
  const letters = Array.from({ length: MOST_PATTERNS }, (_, place) => String.fromCharCode(65 + place))
  const place = patterns.length
  return { ...song, patterns: [...patterns, { name: letters.find((letter) => !names.has(letter))!, first, last }], order: [...order, place] }
}

/** Without the patterns that do not meet a condition, nor their places in the order. */
function keeping<T extends Patterned>(song: T, isKept: (pattern: Pattern, place: number) => boolean): T {
  const kept = song.patterns.map((pattern, place) => isKept(pattern, place))
  const places = kept.map((_, place) => kept.slice(0, place).filter(Boolean).length)
  return { ...song, patterns: song.patterns.filter((_, place) => kept[place]), order: song.order.filter((place) => kept[place]).map((place) => places[place]) }
}

export function withoutPattern(song: Song, gone: number): Song {
  return keeping(song, (_, place) => place !== gone)
}

/** After bars [at, at + gone) became `come` others: patterns after them move, patterns around them grow or shrink. */
export function refitted<T extends Patterned>(song: T, at: number, gone: number, come: number): T {
  const by = come - gone
  const end = at + gone
  const fit = ({ name, first, last }: Pattern) => ({
    name,
    first: first >= end ? first + by : Math.min(first, at),
    last: last > at && last >= end ? last + by : Math.min(last, at),
  })
  return keeping({ ...song, patterns: song.patterns.map(fit) }, ({ first, last }) => first < last)
}

/** After bars [first, last) changed places with those beside them: patterns of one or the other go along. */
export function swapped<T extends Patterned>(song: T, first: number, last: number, by: number): T {
  const [from, to] = by < 0 ? [first + by, first] : [last, last + by]
  const move = (pattern: Pattern) => {
    const isIn = (start: number, end: number) => pattern.first >= start && pattern.last <= end
    const way = isIn(first, last) ? by : isIn(from, to) ? -Math.sign(by) * (last - first) : 0
    return { ...pattern, first: pattern.first + way, last: pattern.last + way }
  }
  return { ...song, patterns: song.patterns.map(move) }
}

/** In words: A, A, B. */
export function orderInWords({ patterns, order }: Patterned): string {
  return order.map((place) => patterns[place].name).join(', ')
}

/** Whether patterns and order are such as a song of so many bars may have. */
export function areValid({ patterns, order }: Patterned, ofBars: number): boolean {
  return patterns.length <= MOST_PATTERNS && order.length <= MOST_ORDER
    && patterns.every(({ first, last }) => first >= 0 && first < last && last <= ofBars)
    && order.every((place) => place >= 0 && place < patterns.length)
}
