/// <reference lib="webworker" />
/** The model's thread: hears the song and plays on from it, fills it in, and plays hits with velocity and timing. */

import { ArticulationNetwork, FORGOTTEN_STEPS, strokesOf, type Articulation, type ArticulationState } from './articulating'
import { checkOptions } from './bounds'
import { noise, play } from './expression'
import { ExpressionNetwork, type ExpressionState } from './expressing'
import { unzipped } from './files'
import { metreOf, stepsPerBar, type Grid } from './grids'
import { articulationsOf, Hearing, type Moment, type Placed } from './hearing'
import { infill } from './infill'
import { FORMAT, type Meta } from './meta'
import type { Rules } from './mixture'
import { Network } from './network'
import { type Output, type Plan, length, listen, selectRows, stream } from './player'
import { asksBeyondTempo } from './plan'
import type { Answer, Asked, ContinueRequest, HeardSong, InfillRequest, Request } from './protocol'
import { emptyPart, cellsIn, type Part } from './song'
import { PlanEmbedding } from './steering'
import { Weights } from './weights'

/** Milliseconds of work between looks at what the page says. */
const PATIENCE_MS = 25

interface Model {
  meta: Meta
  weights: Weights
  embedding: PlanEmbedding | null
  /** The model on the grids that were asked for. */
  placed: Map<string, Placed>
}

let model: Promise<Model> | null = null
const hearing = new Hearing()
const cancelled = new Set<number>()
let queue: Promise<void> = Promise.resolve()

class Cancelled extends Error {}

const say = (answer: Answer) => self.postMessage(answer)

self.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.kind === 'cancel') {
    cancelled.add(data.id)
    return
  }
  queue = queue.then(() => answer(data))
}

async function answer(request: Exclude<Request, { kind: 'cancel' }>): Promise<void> {
  try {
    if (request.kind === 'load') {
      model ??= load(request.base)
      await model
      say({ id: request.id, kind: 'done' })
    } else if (request.kind === 'hear') {
      if (!model) throw new Error('the model is not loaded')
      const { song } = request
      await hearing.hear(placedOn(await model, song.grid), song, false, () => stop(request.id))
      say({ id: request.id, kind: 'done' })
    } else {
      if (!model) throw new Error('the model is not loaded')
      await stop(request.id)
      checkOptions((await model).meta, request)
      if (request.kind === 'continue') await goOn(await model, request)
      else await fill(await model, request)
    }
  } catch (error) {
    if (error instanceof Cancelled) say({ id: request.id, kind: 'cancelled' })
    else say({ id: request.id, kind: 'error', message: error instanceof Error ? error.message : String(error) })
  } finally {
    cancelled.delete(request.id)
  }
}

async function load(base: string): Promise<Model> {
  const file = (name: string) => fetch(new URL(name, base))
  const [meta, bytes] = await Promise.all([
    file('model/meta.json').then((found) => found.json() as Promise<Meta>), unzipped(file('model/weights.bin.gz')),
  ])
  if (meta.format !== FORMAT) throw new Error(`the model's folder is of format ${meta.format}, expected ${FORMAT}: export it again`)
  const weights = new Weights(meta.weights, new Uint8Array(bytes))
  const embedding = meta.labels && new PlanEmbedding(weights, 'plan_embedding', meta.num_drums)
  const own: Model = { meta, weights, embedding, placed: new Map() }
  placedOn(own, meta.grid)
  return own
}

/** The model on a grid. */
function placedOn({ meta, weights, placed }: Model, grid: Grid): Placed {
  const name = JSON.stringify([grid.steps_per_beat, grid.beats_per_bar, grid.bars_per_phrase, grid.beat_unit])
  const known = placed.get(name)
  if (known) return known
  if (!meta.serves_every_grid && stepsPerBar(grid) !== stepsPerBar(meta.grid)) {
    throw new Error(`${meta.name} plays ${metreOf(meta.grid)} alone`)
  }
  const own = {
    network: new Network(meta, weights, grid),
    expression: meta.expression && new ExpressionNetwork(weights, 'expression', meta.num_drums, stepsPerBar(grid)),
    articulation: ArticulationNetwork.of(weights, 'expression.articulation', meta.num_drums),
  }
  placed.set(name, own)
  return own
}

// ------------------------------------------------------------------ waiting for the page

let since = performance.now()
const channel = new MessageChannel()
let wake: (() => void) | null = null
channel.port1.onmessage = () => wake?.()

/** Lets messages in from time to time. @throws Cancelled where the page no longer wants the answer */
async function stop(id: number): Promise<void> {
  if (performance.now() - since > PATIENCE_MS) {
    await new Promise<void>((resolve) => {
      wake = resolve
      channel.port2.postMessage(null)
    })
    since = performance.now()
  }
  if (cancelled.has(id)) throw new Cancelled()
}

// ------------------------------------------------------------------ what is asked

function planOf({ embedding }: Model, asked: Asked | null, firstStep = 0): Plan | null {
  if (!asked || !embedding) return null
  const { bars, embedded } = embedding.embed(asked)
  return { bars, firstStep, dim: embedding.dim, asked: embedded }
}

function rulesOf(meta: Meta, request: ContinueRequest | InfillRequest): Rules {
  const bias = request.bias ? Float64Array.from(request.bias) : null
  const guidance = asksBeyondTempo(meta, request.asked) ? request.guidance : 0
  return { temperature: request.temperature, topP: request.topP, bias, guidance }
}

// ------------------------------------------------------------------ playing

type MadePart = ReturnType<typeof emptyPart> & Part

interface Told { known: Uint8Array; velocity: Float32Array; offset: Float32Array }

/** How a step is played: what is told stays, the other hits are drawn. Offsets of the very first step are not early. */
function playStep(
  { expression }: Placed, meta: Meta, features: Float32Array, hits: Uint8Array, tempo: number, before: ExpressionState,
  drawn: Float64Array, told: Told | null, position: number,
): { velocity: Float32Array; offset: Float32Array; played: ExpressionState } {
  const { dist, state } = expression!.predict(features, hits, tempo, before, position)
  let velocity: Float32Array = new Float32Array(hits.length)
  let offset: Float32Array = new Float32Array(hits.length)
  if (hits.some((hit, v) => hit && !told?.known[v])) {
    const isTold = told?.known.some((known) => known > 0)
    const made = play(dist, hits, drawn, meta.expression!.velocity, meta.expression!.offset, isTold ? told : null)
    velocity = made.velocity
    offset = position === 0 ? made.offset.map((late) => Math.max(late, 0)) : made.offset
  }
  told?.known.forEach((known, v) => { if (known) [velocity[v], offset[v]] = [told.velocity[v], told.offset[v]] })
  return { velocity, offset, played: expression!.advance(hits, velocity, offset, state, position) }
}

// ------------------------------------------------------------------ answers

async function goOn(own: Model, request: ContinueRequest): Promise<void> {
  const { meta } = own
  const { id, bars, seed, song } = request
  const placed = placedOn(own, song.grid)
  const { network } = placed
  const voices = meta.num_drums
  const before = await hearing.hear(placed, song, !!request.mayRemember, () => stop(id))
  const start = length(before.heard)
  const plan = planOf(own, request.asked, start - song.hits.length / voices)
  const size = network.stepsPerBar * voices
  const made = emptyPart(bars * size)
  const atBars: Moment[] = []
  const features: Float32Array[] = []
  let { played, articulated } = before
  let asHeard = articulated // as the song will be heard, of which openness is known at the hi-hat alone
  let step = 0
  for (const drawn of stream(network, before.heard, plan, rulesOf(meta, request), null, seed)) {
    const at = step * voices
    made.hits.set(drawn.hits, at)
    if (played) {
      const numbers = noise(seed, start + step, voices)
      const found = playStep(placed, meta, drawn.output.features, drawn.hits, song.tempo, played, numbers, null, start + step)
      played = found.played
      made.velocity.set(found.velocity, at)
      made.offset.set(found.offset, at)
    } else {
      made.velocity.set(drawn.hits.map((hit) => hit * 0.8), at)
    }
    articulated = articulate(placed, meta, drawn.output.features, made, step, song.tempo, seed, start + step, articulated, null)
    if (asHeard) asHeard = placed.articulation!.advance(articulationsOf(made, step, voices), asHeard)
    features.push(drawn.output.features)
    step++
    if (step % network.stepsPerBar === 0) {
      const bar = step / network.stepsPerBar - 1
      atBars.push({ heard: drawn.heard, played, articulated: asHeard })
      const cut = <T extends Uint8Array | Float32Array>(all: T) => all.slice(bar * size, (bar + 1) * size) as T
      const strokes = cellsIn(made.strokes, bar * size, (bar + 1) * size)
      const part = { hits: cut(made.hits), velocity: cut(made.velocity), offset: cut(made.offset), openness: cut(made.openness), strokes }
      say({ id, kind: 'bar', bar, part })
    }
    if (step === bars * network.stepsPerBar) break
    await stop(id)
  }
  hearing.goOn(song, { ...song, ...made }, atBars, features, size, !!request.mayRemember)
  say({ id, kind: 'done' })
}

async function fill(own: Model, request: InfillRequest): Promise<void> {
  const { meta } = own
  const { id, seed, song, start, known, some } = request
  const placed = placedOn(own, song.grid)
  const { network, expression } = placed
  const voices = meta.num_drums
  const plan = planOf(own, request.asked)
  const cut = <T extends Uint8Array | Float32Array>(all: T, from: number, to?: number) => all.slice(from * voices, to && to * voices) as T
  const beforeSong: HeardSong = {
    ...song, hits: song.hits.slice(0, start * voices), velocity: song.velocity.slice(0, start * voices), offset: song.offset.slice(0, start * voices),
    openness: song.openness.slice(0, start * voices), strokes: cellsIn(song.strokes, 0, start * voices),
  }
  const before = await hearing.hear(placed, beforeSong, false, () => stop(id))
  const locks = { known, values: cut(song.hits, start), some }
  const found = await infill(network, before.heard, locks, plan, rulesOf(meta, request), {
    particles: request.particles,
    horizonBars: request.horizonBars,
    seed,
    onStep: async (step, steps) => {
      if (step % 8 === 0) say({ id, kind: 'progress', share: step / steps })
      await stop(id)
    },
  })
  const made = { ...emptyPart(found.hits.length), hits: found.hits }
  const { velocity, offset } = made
  const was = { hits: locks.values, velocity: cut(song.velocity, start), offset: cut(song.offset, start) }
  const wasStrokes = cellsIn(song.strokes, start * voices, Infinity)
  const stays = found.hits.map((hit, cell) => (hit && was.hits[cell] ? 1 : 0))
  stays.forEach((stay, cell) => {
    if (stay) {
      [velocity[cell], offset[cell], made.openness[cell]] = [was.velocity[cell], was.offset[cell], song.openness[start * voices + cell]]
      const own = wasStrokes.get(cell)
      if (own) made.strokes.set(cell, own)
    } else if (found.hits[cell]) velocity[cell] = 0.8
  })
  if (expression && before.played) {
    const last = lastNew(found.hits, stays, voices)
    let { played } = before
    let articulated = await articulationBefore(placed, id, beforeSong, seed)
    await listen(network, before.heard, found.hits.subarray(0, (last + 1) * voices), async (step, output: Output) => {
      const at = step * voices
      const part = <T extends Uint8Array | Float32Array>(all: T) => all.subarray(at, at + voices) as T
      const told = { known: part(stays), velocity: part(was.velocity), offset: part(was.offset) }
      const features = selectRows(output.features, 1, [0])
      const numbers = noise(seed, start + step, voices)
      const drawn = playStep(placed, meta, features, part(found.hits), song.tempo, played!, numbers, told, start + step)
      played = drawn.played
      velocity.set(drawn.velocity, at)
      offset.set(drawn.offset, at)
      articulated = articulate(placed, meta, features, made, step, song.tempo, seed, start + step, articulated, told.known)
      await stop(id)
    })
  }
  say({ id, kind: 'filled', part: made, smallest: found.smallest })
}

/**
 * Writes strokes and openness of a step's new hits into a part.
 *
 * @param stays of each voice, 1 where its hit stays as it is; null for none
 * @returns the state after the step
 */
function articulate(
  { articulation }: Placed, meta: Meta, features: Float32Array, part: MadePart, step: number, tempo: number, seed: number, position: number,
  state: ArticulationState | null, stays: Uint8Array | null,
): ArticulationState | null {
  if (!articulation || !state) return null
  const voices = meta.num_drums
  const cells = <T extends Uint8Array | Float32Array>(all: T) => all.subarray(step * voices, (step + 1) * voices) as T
  const played = { velocity: cells(part.velocity), offset: cells(part.offset) }
  const known = stays && articulationsOf(part, step, voices).map((own, v) => (stays[v] ? own : null))
  const { made, state: after } = articulation.play(features, cells(part.hits), played, tempo, seed, position, state, known)
  made.forEach((own: Articulation | null, v) => {
    if (!own || stays?.[v]) return
    const cell = step * voices + v
    const strokes = strokesOf(own, part.velocity[cell], part.offset[cell], position === 0)
    if (strokes.length) part.strokes.set(cell, strokes)
    else part.strokes.delete(cell)
    part.openness[cell] = meta.hats.includes(v) ? own.openness : NaN
  })
  return after
}

/** The articulation's state after a song, of which what is not known, such as openness, is drawn. */
async function articulationBefore({ articulation }: Placed, id: number, song: HeardSong, seed: number): Promise<ArticulationState | null> {
  if (!articulation) return null
  const { voices } = articulation
  const steps = song.hits.length / voices
  const features = hearing.featuresUntil(steps)
  let state = articulation.start()
  for (let step = Math.max(0, steps - FORGOTTEN_STEPS); step < steps; step++) {
    const cells = <T extends Uint8Array | Float32Array>(all: T) => all.subarray(step * voices, (step + 1) * voices) as T
    const played = { velocity: cells(song.velocity), offset: cells(song.offset) }
    const known = articulationsOf(song, step, voices)
    ;({ state } = articulation.play(features[step], cells(song.hits), played, song.tempo, seed, step, state, known))
    await stop(id)
  }
  return state
}

/** The last step with a hit that does not stay as it was, or -1. */
function lastNew(hits: Uint8Array, stays: Uint8Array, voices: number): number {
  for (let cell = hits.length - 1; cell >= 0; cell--) if (hits[cell] && !stays[cell]) return Math.floor(cell / voices)
  return -1
}
