/// <reference lib="webworker" />
/** The model's thread: hears the song and plays on from it, fills it in, and plays hits with velocity and timing. */

import { checkOptions } from './bounds'
import { noise, play } from './expression'
import { unzipped } from './files'
import { infill } from './infill'
import type { Meta } from './meta'
import type { Rules } from './mixture'
import { embedPlan, OnnxExpression, OnnxStepper, prepare, session, type Played } from './ort'
import {
  type Heard, type Output, type Plan, length, listen, nothing, selectRows, stream,
} from './player'
import { asksBeyondTempo } from './plan'
import type { Answer, Asked, ContinueRequest, InfillRequest, Request } from './protocol'

/** Milliseconds of work between looks at what the page says. */
const PATIENCE_MS = 25

interface Model {
  meta: Meta
  stepper: OnnxStepper
  expression: OnnxExpression | null
  planGraph: Awaited<ReturnType<typeof session>> | null
}

/** Of what was heard, so many bars are kept to be compared with what comes. */
const KEPT_BARS = 128

/** What was heard last, step by step, so that going on from it costs nothing. */
interface Remembered {
  /** Steps heard before those that are kept here. */
  before: number
  hits: Uint8Array
  velocity: Float32Array
  offset: Float32Array
  tempo: number
  heard: Heard
  played: Played | null
}

let model: Promise<Model> | null = null
let remembered: Remembered | null = null
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
  const meta = file('model/meta.json').then((found) => found.json() as Promise<Meta>)
  const [wasm, step, known] = await Promise.all([unzipped(file('ort.wasm.gz')), unzipped(file('model/step.onnx.gz')), meta])
  const rest = [
    known.labels ? unzipped(file('model/plan.onnx.gz')) : null,
    known.expression ? unzipped(file('model/expression.onnx.gz')) : null,
  ]
  prepare(wasm)
  const stepper = new OnnxStepper(known, await session(new Uint8Array(step)))
  const [plan, expression] = await Promise.all(rest)
  const planGraph = plan && (await session(new Uint8Array(plan)))
  const played = expression && new OnnxExpression(known, await session(new Uint8Array(expression)))
  return { meta: known, stepper, expression: played, planGraph }
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

async function planOf({ planGraph, meta }: Model, asked: Asked | null, firstStep = 0): Promise<Plan | null> {
  if (!asked || !planGraph) return null
  const bars = asked.numbers.length / meta.numbers.length
  const labels = BigInt64Array.from(asked.labels, BigInt)
  return { bars, firstStep, dim: meta.plan_dim, asked: await embedPlan(planGraph, labels, Float32Array.from(asked.numbers), bars) }
}

function rulesOf(meta: Meta, request: ContinueRequest | InfillRequest): Rules {
  const bias = request.bias ? Float64Array.from(request.bias) : null
  const guidance = asksBeyondTempo(meta, request.asked) ? request.guidance : 0
  return { temperature: request.temperature, topP: request.topP, bias, guidance }
}

// ------------------------------------------------------------------ hearing

/** How a step is played: what is told stays, the other hits are drawn. */
async function playStep(
  { expression, meta }: Model, features: Float32Array, hits: Uint8Array, tempo: number, last: Played,
  drawn: Float64Array | null, told: { known: Uint8Array; velocity: Float32Array; offset: Float32Array }, isFirst: boolean,
): Promise<Played> {
  const voices = meta.num_drums
  const now = Float32Array.from(hits)
  const { output, tensors } = await expression!.step(features, now, tempo, last)
  const velocity = new Float32Array(voices)
  const offset = new Float32Array(voices)
  const isOpen = hits.some((hit, v) => hit && !told.known[v])
  if (isOpen && drawn) {
    const isTold = told.known.some((known) => known > 0)
    const { velocity: bins, offset: offsetBins } = expression!.own
    const made = play(output, hits, drawn, bins, offsetBins, isTold ? told : null)
    velocity.set(made.velocity)
    offset.set(isFirst ? made.offset.map((late) => Math.max(late, 0)) : made.offset)
  }
  for (let v = 0; v < voices; v++) {
    if (!told.known[v]) continue
    velocity[v] = told.velocity[v]
    offset[v] = told.offset[v]
  }
  return { tensors, hits: now, velocity, offset }
}

type Song = ContinueRequest['song']

/** Whether `part` stands in `whole` from a step on. */
function isIn(whole: Remembered | Song, part: Remembered | Song, cell: number): boolean {
  if (cell < 0 || cell + part.hits.length > whole.hits.length) return false
  for (const name of ['hits', 'velocity', 'offset'] as const) {
    const [all, some] = [whole[name], part[name]]
    for (let i = 0; i < some.length; i++) if (all[cell + i] !== some[i]) return false
  }
  return true
}

/**
 * Hears a song, from where what was heard before is the same.
 *
 * @param mayRemember whether music that ends with the song will do
 */
async function hear(own: Model, id: number, song: Song, mayRemember = false): Promise<Remembered> {
  const { stepper, expression, meta } = own
  const voices = meta.num_drums
  const was = remembered
  if (mayRemember && was && isIn(was, song, was.hits.length - song.hits.length)) return was
  const from = was && was.before === 0 && was.tempo === song.tempo && isIn(song, was, 0) ? was : null
  let played = from ? from.played : expression && expression.start()
  let at = (from ? from.hits.length : 0) / voices
  const heard = await listen(stepper, from ? from.heard : nothing(stepper), song.hits.subarray(at * voices), async (_, output) => {
    if (played) {
      const cells = (all: Float32Array) => all.subarray(at * voices, (at + 1) * voices)
      const hits = song.hits.subarray(at * voices, (at + 1) * voices)
      const told = { known: hits, velocity: cells(song.velocity), offset: cells(song.offset) }
      played = await playStep(own, output.features, hits, song.tempo, played, null, told, at === 0)
    }
    at++
    await stop(id)
  })
  remembered = { ...song, before: 0, heard, played }
  return remembered
}

// ------------------------------------------------------------------ answers

async function goOn(own: Model, request: ContinueRequest): Promise<void> {
  const { stepper, expression, meta } = own
  const { id, bars, seed, song } = request
  const voices = meta.num_drums
  const before = await hear(own, id, song, request.mayRemember)
  const start = length(before.heard)
  const plan = await planOf(own, request.asked, start - song.hits.length / voices)
  const size = stepper.stepsPerBar * voices
  const made = { hits: new Uint8Array(bars * size), velocity: new Float32Array(bars * size), offset: new Float32Array(bars * size) }
  let { heard, played } = before
  let step = 0
  for await (const drawn of stream(stepper, heard, plan, rulesOf(meta, request), null, seed)) {
    const at = step * voices
    made.hits.set(drawn.hits, at)
    if (played && expression) {
      const told = { known: new Uint8Array(voices), velocity: new Float32Array(voices), offset: new Float32Array(voices) }
      const numbers = noise(seed, start + step, voices)
      played = await playStep(own, drawn.output.features, drawn.hits, song.tempo, played, numbers, told, start + step === 0)
      made.velocity.set(played.velocity, at)
      made.offset.set(played.offset, at)
    } else {
      made.velocity.set(drawn.hits.map((hit) => hit * 0.8), at)
    }
    heard = drawn.heard
    step++
    if (step % stepper.stepsPerBar === 0) {
      const bar = step / stepper.stepsPerBar - 1
      const cut = <T extends Uint8Array | Float32Array>(all: T) => all.slice(bar * size, (bar + 1) * size) as T
      say({ id, kind: 'bar', bar, part: { hits: cut(made.hits), velocity: cut(made.velocity), offset: cut(made.offset) } })
    }
    if (step === bars * stepper.stepsPerBar) break
    await stop(id)
  }
  const cut = Math.max(0, before.hits.length + made.hits.length - KEPT_BARS * size)
  const kept = request.mayRemember ? cut : 0
  remembered = {
    before: before.before + kept / voices,
    hits: joined(before.hits, made.hits).slice(kept),
    velocity: joined(before.velocity, made.velocity).slice(kept),
    offset: joined(before.offset, made.offset).slice(kept),
    tempo: song.tempo,
    heard,
    played,
  }
  say({ id, kind: 'done' })
}

async function fill(own: Model, request: InfillRequest): Promise<void> {
  const { stepper, expression, meta } = own
  const { id, seed, song, start, known } = request
  const voices = meta.num_drums
  const plan = await planOf(own, request.asked)
  const cut = <T extends Uint8Array | Float32Array>(all: T, from: number, to?: number) => all.subarray(from * voices, to && to * voices) as T
  const beforeSong = {
    hits: song.hits.slice(0, start * voices),
    velocity: song.velocity.slice(0, start * voices),
    offset: song.offset.slice(0, start * voices),
    tempo: song.tempo,
  }
  const before = await hear(own, id, beforeSong)
  const locks = { known, values: cut(song.hits, start) }
  const found = await infill(stepper, before.heard, locks, plan, rulesOf(meta, request), {
    particles: request.particles,
    horizonBars: request.horizonBars,
    seed,
    onStep: async (step, steps) => {
      if (step % 8 === 0) say({ id, kind: 'progress', share: step / steps })
      await stop(id)
    },
  })
  const velocity = new Float32Array(found.hits.length)
  const offset = new Float32Array(found.hits.length)
  const was = { hits: locks.values, velocity: cut(song.velocity, start), offset: cut(song.offset, start) }
  const stays = found.hits.map((hit, cell) => (hit && was.hits[cell] ? 1 : 0))
  stays.forEach((stay, cell) => {
    if (stay) [velocity[cell], offset[cell]] = [was.velocity[cell], was.offset[cell]]
    else if (found.hits[cell]) velocity[cell] = 0.8
  })
  if (expression && before.played) {
    const last = lastNew(found.hits, stays, voices)
    let played = before.played
    await listen(stepper, before.heard, found.hits.subarray(0, (last + 1) * voices), async (step, output: Output) => {
      const at = step * voices
      const part = <T extends Uint8Array | Float32Array>(all: T) => all.subarray(at, at + voices) as T
      const told = { known: part(stays), velocity: part(was.velocity), offset: part(was.offset) }
      const features = selectRows(output.features, 1, [0])
      const numbers = noise(seed, start + step, voices)
      played = await playStep(own, features, part(found.hits), song.tempo, played, numbers, told, start + step === 0)
      velocity.set(played.velocity, at)
      offset.set(played.offset, at)
      await stop(id)
    })
  }
  say({ id, kind: 'filled', part: { hits: found.hits, velocity, offset }, smallest: found.smallest })
}

/** The last step with a hit that does not stay as it was, or -1. */
function lastNew(hits: Uint8Array, stays: Uint8Array, voices: number): number {
  for (let cell = hits.length - 1; cell >= 0; cell--) if (hits[cell] && !stays[cell]) return Math.floor(cell / voices)
  return -1
}

function joined<T extends Uint8Array | Float32Array>(a: T, b: T): T {
  const all = new (a.constructor as new (size: number) => T)(a.length + b.length)
  all.set(a)
  all.set(b, a.length)
  return all
}
