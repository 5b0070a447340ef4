/** The metres of a MIDI file, and its spans of whole bars in one metre and tempo: `hypermeter.io.midi.bars`. */

import type { MidiFile } from './file'
import { MidiError } from './types'

/** Ratio of the fastest and the slowest of several tempos that count as one. */
const INAUDIBLE = 1.005

/** A metre from one tick of a file on, and its bar lines, in ticks. Bars are counted from 1. */
interface Metre { beats: number; unit: number; start: number; barTicks: number; firstBar: number }

/** Whole bars from `start` to `end` in ticks. Where the tempo is null, it is a bar in which tempo or metre change. */
export interface Span { start: number; end: number; bar: number; metre: string; tempo: number | null }

/** What of the music decides how tempos and metres are read; where the metre is null, each is read. */
export interface Music { ticksPerStep: number; metre: { beats: number; unit: number } | null; firstTick: number; lastTick: number }

/** By whose names metres of equal bars are read, where every metre is. */
const USUAL = [[4, 4], [3, 4], [2, 4], [5, 4], [7, 4], [6, 8], [12, 8], [7, 8]].map(([beats, unit]) => ({ beats, unit }))

const nameOf = ({ beats, unit }: { beats: number; unit: number }) => `${beats}/${unit}`

const barsUntil = (metre: Metre, tick: number) => Math.floor((tick - metre.start) / metre.barTicks + 1e-9)

const lineBefore = (metre: Metre, tick: number) => metre.start + barsUntil(metre, tick) * metre.barTicks

/** The bar line that is less than `slack` from a tick, else the tick. */
function atLine(metre: Metre, tick: number, slack: number): number {
  const line = metre.start + roundHalfEven((tick - metre.start) / metre.barTicks) * metre.barTicks
  return Math.abs(tick - line) < slack ? line : tick
}

function metresOf(file: MidiFile, slack: number): Metre[] {
  const signatures = new Map([[0, [4, 4]], ...file.signatures.map(([tick, ...metre]): [number, number[]] => [tick, metre])])
  const metres: Metre[] = []
  for (const [tick, [beats, unit]] of [...signatures].sort((a, b) => a[0] - b[0])) {
    if (beats < 1 || unit < 1) {
      const what = beats < 1 ? '0 beats' : 'a beat unit that MIDI does not have'
      throw new MidiError(`metre with ${what} at tick ${tick}, expected one such as 4/4; repair the file`)
    }
    let [start, firstBar] = [tick, 1]
    const before = metres.at(-1)
    if (before) {
      start = atLine(before, tick, slack)
      firstBar = before.firstBar + Math.ceil((start - before.start) / before.barTicks - 1e-9)
      if (start === before.start) metres.pop()
    }
    metres.push({ beats, unit, start, barTicks: (beats * 4 * file.ticksPerQuarter) / unit, firstBar })
  }
  return metres
}

/** Whether bars are as long and beats divide alike: 2/2, 4/4 and 8/8; not 6/8 and 3/4. */
function areAlike(one: Metre, other: { beats: number; unit: number }): boolean {
  return one.beats * other.unit === other.beats * one.unit && one.beats % 3 > 0
}

/**
 * The spans of a file in order, without gaps, and lines on what was read otherwise than it is written. The last span
 * ends at infinity. A short first bar becomes a whole one, which begins before it.
 *
 * @param flatten whether all tempos are one
 */
export function findSpans(file: MidiFile, music: Music, flatten: boolean): { spans: Span[]; remarks: string[] } {
  const { ticksPerStep, metre: wanted, firstTick, lastTick } = music
  const slack = Math.max(1, ticksPerStep / 8)
  const tempos = oneWhereAlike(temposOf(file), lastTick, flatten ? Infinity : INAUDIBLE)
  let metres = metresOf(file, slack)
  const remarks = new Set<string>()
  metres = metres.map((metre) => {
    const other = (wanted ? [wanted] : USUAL).find((usual) => nameOf(usual) !== nameOf(metre) && areAlike(metre, usual))
    if (!other) return metre
    remarks.add(`metre ${nameOf(metre)} is read as ${nameOf(other)}, whose bars are as long`)
    return { ...metre, ...other }
  })
  const [pickup, second] = metres
  const isShort = second && (!wanted || nameOf(second) === nameOf(wanted)) && second.start < second.barTicks - slack
  if (isShort && firstTick < second.start - ticksPerStep / 2) {
    const part = Number((second.start / second.barTicks).toPrecision(2))
    remarks.add(`the first bar is short (${part} of one): it is read as a pickup, with rests before it`)
    metres = [{ ...pickup, ...second, start: second.start - second.barTicks, firstBar: 1 }, ...metres.slice(2)]
  }
  const spans: Span[] = []
  let next = 0
  metres.forEach((metre, number) => {
    const end = metres[number + 1]?.start ?? Infinity
    while (next < tempos.length && tempos[next][0] <= Math.max(metre.start, 0)) next++
    const tempoBefore = tempos[next - 1][1]
    const changes = []
    while (next < tempos.length && tempos[next][0] < end) changes.push(tempos[next++])
    for (const span of spansOfMetre(metre, end, tempoBefore, changes, slack)) {
      const before = spans.at(-1)
      if (before && before.metre === span.metre && before.tempo === span.tempo && span.tempo !== null) before.end = span.end
      else spans.push(span)
    }
  })
  return { spans, remarks: [...remarks] }
}

/** Ticks and rounded tempos, in order; of two at one tick the last counts. */
function temposOf(file: MidiFile): [number, number][] {
  const tempos = new Map([[0, 120], ...file.tempos.map(([tick, tempo]): [number, number] => [tick, roundTo2(tempo)])])
  const wrong = [...tempos].find(([, tempo]) => !(tempo > 0 && tempo < Infinity))
  if (wrong) throw new MidiError(`tempo ${wrong[1] > 0 ? 'inf' : 0} at tick ${wrong[0]}, expected more than 0; repair the file`)
  return [...tempos].sort((a, b) => a[0] - b[0])
}

/** Successive tempos within a ratio as their mean, as the music lasts. */
function oneWhereAlike(tempos: [number, number][], lastTick: number, ratio: number): [number, number][] {
  const groups: [number, number][][] = []
  let [slowest, fastest] = [Infinity, 0]
  for (const tempo of tempos) {
    [slowest, fastest] = [Math.min(slowest, tempo[1]), Math.max(fastest, tempo[1])]
    if (groups.length && fastest <= slowest * ratio + 1e-9) groups.at(-1)!.push(tempo)
    else {
      groups.push([tempo])
      slowest = fastest = tempo[1]
    }
  }
  return groups.map((group, number) => {
    if (group.length === 1) return group[0]
    const end = Math.min(groups[number + 1]?.[0][0] ?? Infinity, Math.max(lastTick, group.at(-1)![0] + 1))
    const lengths = group.map(([tick], i) => (group[i + 1]?.[0] ?? end) - tick)
    const total = lengths.reduce((sum, length) => sum + length, 0)
    const minutes = lengths.reduce((sum, length, i) => sum + length / group[i][1], 0)
    return [group[0][0], roundTo2(total / minutes)]
  })
}

function* spansOfMetre(metre: Metre, end: number, tempo: number, changes: [number, number][], slack: number): Generator<Span> {
  function* span(start: number, stop: number, bpm: number | null): Generator<Span> {
    if (start < stop) yield { start, end: stop, bar: metre.firstBar + barsUntil(metre, start), metre: nameOf(metre), tempo: bpm }
  }
  let { start } = metre
  for (const [tick, changed] of changes) {
    if (changed === tempo) continue
    const change = atLine(metre, tick, slack)
    let line = lineBefore(metre, change)
    yield* span(start, line, tempo)
    if (change > line) {
      const after = Math.min(line + metre.barTicks, end)
      yield* span(Math.max(start, line), after, null)
      line = after
    }
    [start, tempo] = [Math.max(start, line), changed]
  }
  const lastLine = end === Infinity ? end : lineBefore(metre, end)
  yield* span(start, lastLine, tempo)
  yield* span(Math.max(start, lastLine), end, null)
}

/** As Python rounds. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

/** To two decimals, as Python rounds: ties, which only eighths can be, to the even digit. */
function roundTo2(x: number): number {
  return (x * 8) % 2 === 1 ? roundHalfEven(x * 100) / 100 : Number(x.toFixed(2))
}
