/** The drums of a MIDI file on the grid: `hypermeter.io.midi.read` and `pieces`. */

import { fittingGrid, stepsPerBar as barOf, stepsPerQuarter as quarterOf, type Grid } from '../grids'
import { findSpans, roundHalfEven, type Music, type Span } from './bars'
import { countsOf, type Part, type PartOptions } from './drums'
import { loadMidi, type MidiFile } from './file'
import { CLEAR, findOwnGrid, shiftedOn, type OwnGrid } from './grid'
import { bestMap, columnsOf, pitchName, titleOf } from './maps'
import { cellsIn, type Stroke } from '../song'
import { MidiError, type MidiGroove, type MidiVoice, type Remedy } from './types'

const MAX_STEPS = 1_000_000
/** Of those that no voice reads. */
const LISTED_PITCHES = 6
/** The number before one half, in single precision. */
const LAST_OFFSET = Math.fround(0.5 - 2 ** -25)

/** As `ReadOptions` of Python. */
export interface ReadOptions extends PartOptions {
  /** Whether the song ends where its tempo changes, or follows it. */
  tempoMap?: 'keep' | 'flatten'
  /** Whether the steady shift of the playing is taken out before steps are chosen. */
  shift?: 'find' | 'keep'
  /** The device that the pitches are of, or auto; left out, General MIDI. */
  map?: string | null
  /** Whether a file is read in its own metre, with the steps that fit its playing, as `--metre all --steps-per-beat auto`. */
  everyMetre?: boolean
}

export interface ReadMidi extends MidiGroove {
  bars: number
  /** That it was read on. */
  grid: Grid
  /** A line for each choice that was made, and for each thing that was left out. */
  losses: string[]
  /** What the drums can be chosen from. */
  parts: Part[]
  /** Whether bars are left out because of another tempo. */
  hasTempoChanges: boolean
  /** Whether some hits are of no voice. */
  hasUnmapped: boolean
  /** The grid that the drums are played on; its shift is found, also where it is not taken out. */
  ownGrid: OwnGrid
}

/** Steps in a quarter and a bar, the metre, and bars that are read at most. */
interface Frame { grid: Grid; stepsPerQuarter: number; stepsPerBar: number; beats: number; unit: number; mostBars: number }

const frameOf = (grid: Grid, mostBars: number): Frame => (
  { grid, stepsPerQuarter: quarterOf(grid), stepsPerBar: barOf(grid), beats: grid.beats_per_bar, unit: grid.beat_unit, mostBars }
)

/**
 * The drums of a MIDI file, from its first bar in one metre and tempo that has any to its last hit, to the next change
 * of metre or tempo, or to its end where that is on a bar line. Of several hits in a cell the loudest is its hit.
 *
 * @param grid that it is read on, unless it is read in its own metre
 * @throws MidiError a file that cannot be read
 */
export function readMidi(
  bytes: Uint8Array, voices: MidiVoice[], grid: Grid, mostBars: number, options: ReadOptions = {},
): ReadMidi {
  const file = loadMidi(bytes, options)
  const base = options.everyMetre ? fittingGrid(4, 4, 4, grid.bars_per_phrase) : grid
  return new SpanReader(file, voices, frameOf(base, mostBars), options.map ?? 'gm').readFirst(options)
}

/** A hit of the drums, in steps from the start of a span on the player's own grid. */
interface Hit { position: number; pitch: number; velocity: number; openness: number }

class SpanReader {
  private readonly ticksPerStep: number
  private readonly map: string
  private readonly asked: string
  private readonly columns: Map<number, number>

  constructor(private readonly file: MidiFile, private readonly voices: MidiVoice[], private readonly frame: Frame, map: string) {
    this.ticksPerStep = file.ticksPerQuarter / frame.stepsPerQuarter
    this.asked = map
    const counts = countsOf(file.drums)
    this.map = map === 'auto' ? bestMap(counts, file.names) : map
    this.columns = columnsOf(voices, this.map)
    if (map !== 'auto') return
    const left = file.drums.filter(({ pitch }) => !this.columns.has(pitch)).length
    file.remarks.push(`the pitches of ${titleOf(this.map)} fit best and leave out ${grouped(left)} of ${grouped(file.drums.length)} hits`)
  }

  /** The first span with drums, in the metre; lines tell what is left out of it, and which others are left out. */
  readFirst({ tempoMap, shift: whetherToShift, everyMetre }: ReadOptions): ReadMidi {
    const { remarks, parts } = this.file
    const music = this.music(!!everyMetre)
    const steps = music.lastTick / this.ticksPerStep
    if (steps > MAX_STEPS) throw new MidiError(`a note ${roundHalfEven(steps)} steps in, expected at most ${MAX_STEPS}; shorten the file`)
    const found = findSpans(this.file, music, tempoMap === 'flatten')
    const half = this.ticksPerStep / 2
    const spans = found.spans.filter((span) => music.firstTick < span.end - half && span.start <= music.lastTick + half)
    const base = everyMetre ? this.inMetre(spans[0].metre, 4) : this
    const ownGrid = base.ownGrid(spans)
    const isKept = whetherToShift === 'keep'
    const leftOut: [string, Remedy | null][] = []
    const pieces: { span: Span; reader: SpanReader; hits: Hit[]; bars: number; shift: number }[] = []
    spans.forEach((span, number) => {
      const reader = everyMetre ? base.inMetre(span.metre, ownGrid.stepsPerQuarter) : this
      const ratio = reader.frame.stepsPerQuarter / base.frame.stepsPerQuarter
      const shift = isKept ? shiftedOn({ ...ownGrid, shift: 0 }, ratio).shift : shiftedOn(ownGrid, ratio).shift
      const end = number === spans.length - 1 ? Infinity : (span.end - span.start) / reader.ticksPerStep
      const hits = reader.hitsIn(span, end, shift)
      if (!hits.length) return
      const reason = reader.reason(span, hits)
      if (reason) leftOut.push(reason)
      else pieces.push({ span, reader, hits, shift, bars: end < Infinity ? Math.ceil(roundHalfEven(end) / reader.frame.stepsPerBar) : reader.lastBars(span, hits) })
    })
    if (!pieces.length) throw new MidiError(...leftOut[0], parts)
    const [{ span, reader, hits, bars, shift }, ...others] = pieces
    const { groove, losses } = reader.groove(hits, bars)
    const after = others.reduce((sum, other) => sum + other.bars, 0)
    if (ownGrid.clarity < CLEAR) losses.push('no clear grid: hits are anywhere between the steps; check the tempo')
    if (after) losses.unshift(`${after} bars after a change of tempo or metre`)
    return {
      ...groove, shift, grid: reader.frame.grid, tempo: span.tempo!, bars: Math.min(bars, this.frame.mostBars), losses: [...remarks, ...found.remarks, ...leftOut.map(([line]) => line), ...losses],
      parts, hasTempoChanges: spans.some(({ tempo }) => tempo !== spans[0].tempo), hasUnmapped: hits.some(({ pitch }) => !this.columns.has(pitch)), ownGrid,
    }
  }

  /** This reader in another metre, with so many steps in a quarter note where its beats have them. */
  private inMetre(metre: string, stepsPerQuarter: number): SpanReader {
    const [beats, unit] = metre.split('/').map(Number)
    const { grid, mostBars } = this.frame
    const remarks = this.file.remarks.slice() // of the map of pitches there is one already
    const reader = new SpanReader(this.file, this.voices, frameOf(fittingGrid(beats, unit, stepsPerQuarter, grid.bars_per_phrase), mostBars), this.asked)
    this.file.remarks.splice(0, Infinity, ...remarks)
    return reader
  }

  private music(everyMetre: boolean): Music {
    let [firstTick, lastTick] = [Infinity, 0]
    for (const { tick } of this.file.drums) [firstTick, lastTick] = [Math.min(firstTick, tick), Math.max(lastTick, tick)]
    const { beats, unit } = this.frame
    return { ticksPerStep: this.ticksPerStep, metre: everyMetre ? null : { beats, unit }, firstTick, lastTick }
  }

  /** One grid for all spans, so that no hit is between them. */
  private ownGrid(spans: Span[]): OwnGrid {
    const { start, tempo } = spans.find((span) => span.tempo !== null) ?? spans[0]
    const onsets = this.file.drums.filter(({ pitch }) => this.columns.has(pitch)).map(({ tick }) => (tick - start) / this.ticksPerStep)
    return findOwnGrid(onsets, (this.frame.stepsPerQuarter * 4) / this.frame.unit, 60 / (tempo ?? 120) / this.frame.stepsPerQuarter)
  }

  /** The hits of a span. Each belongs to its nearest step, so the span begins and ends half a step before its lines. */
  private hitsIn(span: Span, end: number, shift: number): Hit[] {
    const { drums } = this.file
    const position = (number: number) => (drums[number].tick - span.start) / this.ticksPerStep - shift
    let [first, after] = [0, drums.length] // by halves: a file may have as many spans as hits
    while (first < after) {
      const middle = (first + after) >> 1
      if (position(middle) < -0.5) first = middle + 1
      else after = middle
    }
    const hits: Hit[] = []
    for (; first < drums.length && position(first) < end - 0.5; first++) {
      const { pitch, velocity, tick } = drums[first]
      hits.push({ position: position(first), pitch, velocity, openness: this.opennessAt(tick) })
    }
    return hits
  }

  /** How open the hi-hat is; NaN before its pedal was heard of. */
  private opennessAt(tick: number): number {
    const { pedal } = this.file
    let [first, after] = [0, pedal.length]
    while (first < after) {
      const middle = (first + after) >> 1
      if (pedal[middle][0] <= tick) first = middle + 1
      else after = middle
    }
    return first ? 1 - pedal[first - 1][1] / 127 : NaN
  }

  /** Why a span is left out, and what may mend it; or nothing. */
  private reason(span: Span, hits: Hit[]): [string, Remedy | null] | null {
    const { beats, unit } = this.frame
    const at = `at bar ${span.bar} (${hits.length} hits)`
    if (span.metre !== `${beats}/${unit}`) return [`metre ${span.metre} ${at}, expected ${beats}/${unit}`, null]
    if (span.tempo === null) return [`tempo or metre changes within the bar ${at}`, 'tempo-map']
    return hits.some(({ pitch }) => this.columns.has(pitch)) ? null : [`no drum notes that this kit reads ${at}`, 'pitch-map']
  }

  /** Bars of the last span: to its last hit of the kit, or to the end of the file if that is on a bar line. */
  private lastBars(span: Span, hits: Hit[]): number {
    const { stepsPerBar } = this.frame
    let last = 0
    for (const { position, pitch } of hits) if (this.columns.has(pitch)) last = Math.max(last, position)
    const bars = Math.floor(Math.floor(last + 0.5) / stepsPerBar) + 1
    const length = (Math.min(this.file.end, span.end) - span.start) / this.ticksPerStep
    const whole = roundHalfEven(length / stepsPerBar)
    const isWhole = Math.abs(length - whole * stepsPerBar) * this.ticksPerStep < 0.75 && whole * stepsPerBar <= MAX_STEPS
    return isWhole ? Math.max(bars, whole) : bars
  }

  /** Hits on their nearest steps; of several in a cell the loudest, and of equally loud ones the first, is its hit, the others are further strokes. */
  private groove(hits: Hit[], bars: number): { groove: Omit<MidiGroove, 'shift' | 'tempo'>; losses: string[] } {
    const { stepsPerBar, mostBars } = this.frame
    const count = this.voices.length
    const cells = bars * stepsPerBar * count
    const all = { hits: new Uint8Array(cells), velocity: new Float32Array(cells), offset: new Float32Array(cells), openness: new Float32Array(cells).fill(NaN) }
    const strokes = new Map<number, Stroke[]>()
    const unmapped = countsOf(hits.filter(({ pitch }) => !this.columns.has(pitch)))
    const rank = ({ velocity, position }: Hit) => velocity - 0.9 * (position - Math.floor(position + 0.5))
    for (const { position, pitch, velocity, openness } of hits.sort((a, b) => rank(a) - rank(b))) { // the last in a cell stays
      const column = this.columns.get(pitch)
      if (column === undefined) continue
      const step = Math.floor(position + 0.5)
      const cell = step * count + column
      if (all.hits[cell]) {
        const before = { offset: all.offset[cell], velocity: all.velocity[cell], openness: all.openness[cell] }
        strokes.set(cell, [...(strokes.get(cell) ?? []), before])
      }
      all.hits[cell] = 1
      all.velocity[cell] = velocity / 127
      all.offset[cell] = Math.min(Math.fround(position - step), LAST_OFFSET)
      all.openness[cell] = this.voices[column].isHat ? openness : NaN
    }
    for (const own of strokes.values()) own.sort((a, b) => a.offset - b.offset || a.velocity - b.velocity)
    const kept = Math.min(bars, mostBars) * stepsPerBar * count
    const late = all.hits.subarray(kept).reduce((sum, hit) => sum + hit, 0)
    const losses: string[] = []
    if (unmapped.size) losses.push(describeUnmapped(unmapped, hits.length, this.map))
    if (late) losses.push(`${late} hits after bar ${mostBars}`)
    const [onsets, velocity, offset, openness] = [all.hits.slice(0, kept), all.velocity.slice(0, kept), all.offset.slice(0, kept), all.openness.slice(0, kept)]
    return { groove: { hits: onsets, velocity, offset, openness, strokes: cellsIn(strokes, 0, kept, 0) }, losses }
  }
}

/** A line about the hits that no voice reads, of so many in all. */
function describeUnmapped(counts: Map<number, number>, total: number, map: string): string {
  const lost = [...counts.values()].reduce((sum, count) => sum + count, 0)
  const parts = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([pitch, count]) => (
    `${pitch} ${pitchName(map, pitch)}: ${grouped(count)}`
  ))
  const more = parts.length > LISTED_PITCHES ? ` and ${parts.length - LISTED_PITCHES} pitches more` : ''
  const share = ((100 * lost) / total).toFixed(1)
  return `${grouped(lost)} of ${grouped(total)} (${share}%) hits have no voice in this kit (${parts.slice(0, LISTED_PITCHES).join(', ')}${more})`
}

const grouped = (count: number) => count.toLocaleString('en-US')
