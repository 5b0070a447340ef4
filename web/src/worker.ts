/// <reference lib="webworker" />
/** The model's thread: hears the song and plays on from it, fills it in, and plays hits with velocity and timing. */

import { checkOptions } from './bounds'
import { noise, play } from './expression'
import { ExpressionNetwork, type ExpressionState } from './expressing'
import { unzipped } from './files'
import { metreOf, stepsPerBar, type Grid } from './grids'
import { Hearing, type Moment, type Placed } from './hearing'
import { infill } from './infill'
import { FORMAT, type Meta } from './meta'
import type { Rules } from './mixture'
import { Network } from './network'
import { type Output, type Plan, length, listen, selectRows, stream } from './player'
import { asksBeyondTempo } from './plan'
import type { Answer, Asked, ContinueRequest, HeardSong, InfillRequest, Request } from './protocol'
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
  let { played } = before
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
    step++
    if (step % network.stepsPerBar === 0) {
      const bar = step / network.stepsPerBar - 1
      atBars.push({ heard: drawn.heard, played })
      const cut = <T extends Uint8Array | Float32Array>(all: T) => all.slice(bar * size, (bar + 1) * size) as T
      say({ id, kind: 'bar', bar, part: { hits: cut(made.hits), velocity: cut(made.velocity), offset: cut(made.offset) } })
    }
    if (step === bars * network.stepsPerBar) break
    await stop(id)
  }
  hearing.goOn(song, { ...song, ...made }, atBars, size, !!request.mayRemember)
  say({ id, kind: 'done' })
}

async function fill(own: Model, request: InfillRequest): Promise<void> {
  const { meta } = own
  const { id, seed, song, start, known } = request
  const placed = placedOn(own, song.grid)
  const { network, expression } = placed
  const voices = meta.num_drums
  const plan = planOf(own, request.asked)
  const cut = <T extends Uint8Array | Float32Array>(all: T, from: number, to?: number) => all.slice(from * voices, to && to * voices) as T
  const beforeSong: HeardSong = {
    ...song, hits: song.hits.slice(0, start * voices), velocity: song.velocity.slice(0, start * voices), offset: song.offset.slice(0, start * voices),
  }
  const before = await hearing.hear(placed, beforeSong, false, () => stop(id))
  const locks = { known, values: cut(song.hits, start) }
  const found = await infill(network, before.heard, locks, plan, rulesOf(meta, request), {
    particles: request.particles,
    horizonBars: request.horizonBars,
    seed,
    onStep: async (step, steps) => {
      if (step % 8 === 0) say({ id, kind: 'progress', share: step / steps })
      await stop(id)
    },
  })
  const { velocity, offset } = emptyPart(found.hits.length)
  const was = { hits: locks.values, velocity: cut(song.velocity, start), offset: cut(song.offset, start) }
  const stays = found.hits.map((hit, cell) => (hit && was.hits[cell] ? 1 : 0))
  stays.forEach((stay, cell) => {
    if (stay) [velocity[cell], offset[cell]] = [was.velocity[cell], was.offset[cell]]
    else if (found.hits[cell]) velocity[cell] = 0.8
  })
  if (expression && before.played) {
    const last = lastNew(found.hits, stays, voices)
    let { played } = before
    await listen(network, before.heard, found.hits.subarray(0, (last + 1) * voices), async (step, output: Output) => {
      const at = step * voices
      const part = <T extends Uint8Array | Float32Array>(all: T) => all.subarray(at, at + voices) as T
      const told = { known: part(stays), velocity: part(was.velocity), offset: part(was.offset) }
      const features = selectRows(output.features, 1, [0])
      const numbers = noise(seed, start + step, voices)
      const made = playStep(placed, meta, features, part(found.hits), song.tempo, played!, numbers, told, start + step)
      played = made.played
      velocity.set(made.velocity, at)
      offset.set(made.offset, at)
      await stop(id)
    })
  }
  say({ id, kind: 'filled', part: { hits: found.hits, velocity, offset }, smallest: found.smallest })
}

function emptyPart(cells: number) {
  return { hits: new Uint8Array(cells), velocity: new Float32Array(cells), offset: new Float32Array(cells) }
}

/** The last step with a hit that does not stay as it was, or -1. */
function lastNew(hits: Uint8Array, stays: Uint8Array, voices: number): number {
  for (let cell = hits.length - 1; cell >= 0; cell--) if (hits[cell] && !stays[cell]) return Math.floor(cell / voices)
  return -1
}
