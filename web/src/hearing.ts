/** What the model has heard: states at the bar lines of the song, so that it goes on from any bar at once. */

import { articulationOf, type Articulation, type ArticulationNetwork, type ArticulationState } from './articulating'
import type { ExpressionNetwork, ExpressionState } from './expressing'
import { areSame, stepsPerBar } from './grids'
import type { Network } from './network'
import { type Heard, listen, nothing } from './player'
import type { HeardSong } from './protocol'
import { cellsIn, type Part } from './song'

/** A model on a grid, and how it plays hits; null where it plays hits only. */
export interface Placed {
  network: Network
  expression: ExpressionNetwork | null
  /** Of strokes and openness; null where it has learnt neither. */
  articulation: ArticulationNetwork | null
}

/** All that is remembered before a step, as a value. */
export interface Moment {
  heard: Heard
  played: ExpressionState | null
  articulated: ArticulationState | null
}

/** A song that was heard. */
interface Remembered extends HeardSong {
  /** After so many bars of it; none where more was heard before it. */
  atBars: Moment[]
  last: Moment
  /** Of each step, what the network made before it. */
  features: Float32Array[]
}

/** Of endless play so many bars are kept to be compared with what comes. */
const KEPT_BARS = 128

export class Hearing {
  private was: Remembered | null = null

  /** What was heard before it was stopped: the whole bars of it. */
  private keepBars(song: HeardSong, atBars: Moment[], features: Float32Array[], cellsOfBar: number): void {
    const cells = (atBars.length - 1) * cellsOfBar
    const voices = cellsOfBar / (cells ? stepsPerBar(song.grid) : 1)
    this.was = {
      ...song, hits: song.hits.slice(0, cells), velocity: song.velocity.slice(0, cells), offset: song.offset.slice(0, cells),
      openness: song.openness.slice(0, cells), strokes: cellsIn(song.strokes, 0, cells, 0),
      atBars: atBars.slice(), last: atBars[atBars.length - 1], features: features.slice(0, cells / voices),
    }
  }

  /** What the network made before each step of the song that was heard last, up to a step; of none where it was cut. */
  featuresUntil(step: number): Float32Array[] {
    return this.was ? this.was.features.slice(0, step) : []
  }

  /**
   * Hears a song, from the last bar line before which what was heard before is the same.
   *
   * @param mayRemember whether music that ends with the song will do
   * @param wait is called between steps; it may throw to stop
   */
  async hear(placed: Placed, song: HeardSong, mayRemember: boolean, wait: () => Promise<void>): Promise<Moment> {
    const { network, expression, articulation } = placed
    const { was } = this
    if (mayRemember && was && isEnd(was, song)) return was.last
    const voices = network.width
    const size = network.stepsPerBar
    const steps = song.hits.length / voices
    const isAlike = was && was.atBars.length && was.tempo === song.tempo && areSame(was.grid, song.grid)
    const common = isAlike ? commonSteps(was, song, voices) : 0
    const wasSteps = was ? was.hits.length / voices : 0
    if (isAlike && common === steps && steps % size === 0 && was.atBars[steps / size]) return was.atBars[steps / size]
    let at = 0
    let atBars: Moment[] = [{ heard: nothing(network), played: expression && expression.start(), articulated: articulation && articulation.start() }]
    let moment = atBars[0]
    if (isAlike && common === wasSteps) [at, atBars, moment] = [common, was.atBars.slice(), was.last]
    else if (isAlike) {
      const bars = Math.min(Math.floor(common / size), was.atBars.length - 1)
      at = bars * size
      atBars = was.atBars.slice(0, bars + 1)
      moment = atBars[bars]
    }
    let { played, articulated } = moment
    const features = isAlike ? was.features.slice(0, at) : []
    const hearing = listen(network, moment.heard, song.hits.subarray(at * voices), async (_, output, before) => {
      if (at % size === 0 && !atBars[at / size]) atBars[at / size] = { heard: before, played, articulated }
      if (expression && played) {
        const part = <T extends Uint8Array | Float32Array>(all: T) => all.subarray(at * voices, (at + 1) * voices) as T
        const hits = part(song.hits)
        const { state } = expression.predict(output.features, hits, song.tempo, played, at)
        played = expression.advance(hits, part(song.velocity), part(song.offset), state, at)
      }
      if (articulation && articulated) articulated = articulation.advance(articulationsOf(song, at, voices), articulated)
      features.push(output.features)
      at++
      await wait()
    })
    const heard = await hearing.catch((error: unknown) => {
      this.keepBars(song, atBars, features, size * voices)
      throw error
    })
    const last = { heard, played, articulated }
    if (at % size === 0) atBars[at / size] = last
    this.was = { ...song, atBars, last, features }
    return last
  }

  /**
   * Keeps what was played after a song that was heard.
   *
   * @param atBars what is remembered after each of the new bars
   * @param features of each new step, what the network made before it
   * @param mayForget whether bars that endless play no longer sends are dropped
   */
  goOn(song: HeardSong, made: HeardSong, atBars: Moment[], features: Float32Array[], cellsOfBar: number, mayForget: boolean): void {
    const { was } = this
    if (!was || !atBars.length) return
    const bars = song.hits.length / cellsOfBar
    const voices = made.hits.length / features.length
    const earlier = mayForget && isEnd(was, song) ? was : song
    const cut = mayForget ? Math.max(0, earlier.hits.length + made.hits.length - KEPT_BARS * cellsOfBar) : 0
    const isWhole = earlier.hits.length === song.hits.length && cut === 0 && was.atBars.length > bars
    const both = <T extends Uint8Array | Float32Array>(before: T, after: T) => joined(before, after).slice(cut) as T
    this.was = {
      hits: both(earlier.hits, made.hits), velocity: both(earlier.velocity, made.velocity), offset: both(earlier.offset, made.offset),
      openness: both(earlier.openness, made.openness),
      strokes: new Map([...cellsIn(earlier.strokes, cut, Infinity), ...cellsIn(made.strokes, 0, Infinity, earlier.hits.length - cut)]),
      tempo: song.tempo, grid: song.grid, last: atBars[atBars.length - 1],
      atBars: isWhole ? [...was.atBars.slice(0, bars + 1), ...atBars] : [],
      features: isWhole ? [...was.features.slice(0, song.hits.length / voices), ...features] : [],
    }
  }
}

/** Whether a song is the end of what was heard. */
function isEnd(was: Remembered, song: HeardSong): boolean {
  const from = was.hits.length - song.hits.length
  if (from < 0 || was.tempo !== song.tempo || !areSame(was.grid, song.grid)) return false
  return song.hits.every((_, cell) => isSameCell(song, cell, was, from + cell))
}

/** How many steps two songs have in common before they differ. */
function commonSteps(was: HeardSong, song: HeardSong, voices: number): number {
  const cells = Math.min(was.hits.length, song.hits.length)
  let cell = 0
  while (cell < cells && isSameCell(was, cell, song, cell)) cell++
  return Math.floor(cell / voices)
}

function isSameCell(one: HeardSong, cell: number, other: HeardSong, place: number): boolean {
  if (one.hits[cell] !== other.hits[place] || one.velocity[cell] !== other.velocity[place] || one.offset[cell] !== other.offset[place]) return false
  if (!Object.is(one.openness[cell], other.openness[place])) return false
  const [own, others] = [one.strokes.get(cell), other.strokes.get(place)]
  if (own?.length !== others?.length) return false
  return !own || own.every(({ offset, velocity, openness }, i) => (
    offset === others![i].offset && velocity === others![i].velocity && Object.is(openness, others![i].openness)
  ))
}

/** The articulations of a step of a song; null without a hit. */
export function articulationsOf(song: Part, step: number, voices: number): (Articulation | null)[] {
  return Array.from({ length: voices }, (_, v) => {
    const cell = step * voices + v
    if (!song.hits[cell]) return null
    return articulationOf(song.velocity[cell], song.offset[cell], song.strokes.get(cell) ?? [], song.openness[cell])
  })
}

function joined<T extends Uint8Array | Float32Array>(a: T, b: T): T {
  const all = new (a.constructor as new (size: number) => T)(a.length + b.length)
  all.set(a)
  all.set(b, a.length)
  return all
}
