/** The exported graphs, run by onnxruntime-web in this thread. */

import * as ort from 'onnxruntime-web/wasm'
import type { Memory, Meta, Tensor } from './meta'
import { stepsPerBar } from './meta'
import { normalised, type Mixture } from './mixture'
import type { Output, State, Stepper } from './player'

/** Prepare the runtime; `wasm` is its WebAssembly module. */
export function prepare(wasm: ArrayBuffer): void {
  ort.env.wasm.numThreads = 1
  ort.env.wasm.proxy = false
  ort.env.wasm.wasmBinary = wasm
  ort.env.logLevel = 'error'
}

export function session(model: Uint8Array): Promise<ort.InferenceSession> {
  return ort.InferenceSession.create(model, { executionProviders: ['wasm'], graphOptimizationLevel: 'all' })
}

export class OnnxStepper implements Stepper {
  readonly width: number
  readonly stepsPerBar: number
  private readonly inputs: Set<string>

  constructor(private readonly meta: Meta, private readonly graph: ort.InferenceSession) {
    this.width = meta.width
    this.stepsPerBar = stepsPerBar(meta.grid)
    this.inputs = new Set(graph.inputNames)
  }

  start(rows: number): State {
    const tensors: Record<string, Float32Array> = {}
    for (const item of this.meta.state) {
      if (item.dtype === 'float32') tensors[item.name] = new Float32Array(rows * size(item))
    }
    return { rows, position: -1, tensors, memory: this.meta.memory && emptyMemory(this.meta.memory, rows) }
  }

  async step(x: Uint8Array, asked: Float32Array | null, state: State): Promise<{ state: State; output: Output }> {
    const { meta, width } = this
    const { rows, position } = state
    const feeds: Record<string, ort.Tensor> = { x: floats(Float32Array.from(x), [rows, width]) }
    if (this.inputs.has('asked')) {
      const all = new Float32Array(rows * meta.plan_dim)
      if (asked) for (let row = 0; row < rows; row++) all.set(asked, row * meta.plan_dim)
      feeds.asked = floats(all, [rows, meta.plan_dim])
    }
    for (const { name, shape, dtype } of meta.state) {
      const dims = [rows, ...shape]
      feeds[`state_${name}`] = dtype === 'int64'
        ? new ort.Tensor('int64', new BigInt64Array(rows).fill(BigInt(position)), dims)
        : floats(state.tensors[name], dims)
    }
    const { memory } = meta
    if (memory && state.memory) {
      const column = state.memory[(position + 1) % memory.steps_per_bar]
      const all = new Float32Array(rows * memory.window * memory.size)
      column.forEach((own, row) => all.set(own, row * memory.window * memory.size))
      feeds.memory = floats(all, [rows, memory.window, memory.size])
    }
    const found = await this.graph.run(feeds)
    const tensors: Record<string, Float32Array> = {}
    for (const { name, dtype } of meta.state) {
      if (dtype === 'float32') tensors[name] = found[`next_${name}`].data as Float32Array
    }
    const remembered = memory && (found.remembered.data as Float32Array)
    return {
      state: {
        rows,
        position: position + 1,
        tensors,
        memory: memory && state.memory && remembered
          ? remember(memory, state.memory, remembered, position)
          : null,
      },
      output: {
        dist: mixtures(found.log_weights, found.logits),
        free: found.free_logits ? mixtures(found.free_log_weights, found.free_logits) : mixtures(found.log_weights, found.logits),
        features: found.features.data as Float32Array,
      },
    }
  }
}

/** The expression of each step: how its hits may be played, one component out of K. */
export interface ExpressionOutput {
  logWeights: Float32Array
  velocityMean: Float32Array
  velocityScale: Float32Array
  offsetMean: Float32Array
  offsetScale: Float32Array
}

/** How steps are played, one row; the state is a value. */
export interface Played {
  tensors: Record<string, Float32Array>
  hits: Float32Array
  velocity: Float32Array
  offset: Float32Array
}

export class OnnxExpression {
  readonly own: NonNullable<Meta['expression']>

  constructor(private readonly meta: Meta, private readonly graph: ort.InferenceSession) {
    if (!meta.expression) throw new Error('the model plays hits only')
    this.own = meta.expression
  }

  start(): Played {
    const tensors: Record<string, Float32Array> = {}
    for (const item of this.own.state) tensors[item.name] = new Float32Array(size(item))
    const silence = () => new Float32Array(this.meta.num_drums)
    return { tensors, hits: silence(), velocity: silence(), offset: silence() }
  }

  /** Hears how the last step was played; gives how this one's hits may be, and the state then. */
  async step(features: Float32Array, hits: Float32Array, tempoBpm: number, last: Played) {
    const voices = this.meta.num_drums
    const feeds: Record<string, ort.Tensor> = {
      features: floats(features, [1, features.length]),
      hits: floats(hits, [1, voices]),
      tempo_bpm: floats(Float32Array.of(tempoBpm), [1]),
      last_hits: floats(last.hits, [1, voices]),
      last_velocity: floats(last.velocity, [1, voices]),
      last_offset: floats(last.offset, [1, voices]),
    }
    for (const { name, shape } of this.own.state) feeds[`state_${name}`] = floats(last.tensors[name], [1, ...shape])
    const found = await this.graph.run(feeds)
    const tensors: Record<string, Float32Array> = {}
    for (const { name } of this.own.state) {
      tensors[name] = found[`next_${name}`].data as Float32Array
    }
    const of = (name: string) => found[name].data as Float32Array
    const output: ExpressionOutput = {
      logWeights: of('log_weights'),
      velocityMean: of('velocity_mean'),
      velocityScale: of('velocity_scale'),
      offsetMean: of('offset_mean'),
      offsetScale: of('offset_scale'),
    }
    return { output, tensors }
  }
}

/** A plan's bars, embedded: (bars, plan_dim). */
export async function embedPlan(
  graph: ort.InferenceSession, labels: BigInt64Array, numbers: Float32Array, bars: number,
): Promise<Float32Array> {
  const found = await graph.run({
    labels: new ort.Tensor('int64', labels, [1, bars, labels.length / bars]),
    numbers: floats(numbers, [1, bars, numbers.length / bars]),
  })
  return found.asked.data as Float32Array
}

function floats(data: Float32Array, dims: number[]): ort.Tensor {
  return new ort.Tensor('float32', data, dims)
}

function size(tensor: Tensor): number {
  return tensor.shape.reduce((a, b) => a * b, 1)
}

function mixtures(logWeights: ort.Tensor, logits: ort.Tensor): Mixture[] {
  const [rows, components, voices] = logits.dims
  const weights = logWeights.data as Float32Array
  const all = logits.data as Float32Array
  return Array.from({ length: rows }, (_, row) => ({
    logWeights: normalised(Float64Array.from(weights.subarray(row * components, (row + 1) * components))),
    logits: Float64Array.from(all.subarray(row * components * voices, (row + 1) * components * voices)),
    voices,
  }))
}

function emptyMemory({ steps_per_bar, window, size }: Memory, rows: number): Float32Array[][] {
  const empty = new Float32Array(window * size)
  return Array.from({ length: steps_per_bar }, () => new Array(rows).fill(empty))
}

/** The memory with the rows of the step just played; what it shares with the old one is not copied. */
function remember(
  { steps_per_bar, window, size }: Memory, memory: Float32Array[][], rows: Float32Array, position: number,
): Float32Array[][] {
  if (position < 0) return memory
  const at = position % steps_per_bar
  const slot = Math.floor(position / steps_per_bar) % window
  const column = memory[at].map((own, row) => {
    const changed = own.slice()
    changed.set(rows.subarray(row * size, (row + 1) * size), slot * size)
    return changed
  })
  return memory.map((kept, place) => (place === at ? column : kept))
}
