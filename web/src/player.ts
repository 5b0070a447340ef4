/**
 * A model plays: hits are heard and drawn, one step after another, by the rules of `hypermeter.play`.
 *
 * How a step is computed is the matter of a `Stepper` (`network.ts`; anything in the tests).
 */

import { draw, type Lock, type Mixture, type Rules } from './mixture'
import { HITS, uniforms } from './rng'

/** The model's state of some rows that all stand at the same position, as a value. */
export interface State {
  rows: number
  /** Steps heard, less one: -1 before the start. */
  position: number
  /** The same rows again, in the order of `rows`. */
  select(rows: ArrayLike<number>): State
}

/** The distributions of the next step, one of each row. */
export interface Output {
  dist: Mixture[]
  /** Without the plan; the same where there is no plan. */
  free: Mixture[]
  /** (rows, features), what the expression is made from. */
  features: Float32Array
}

export interface Stepper {
  width: number
  stepsPerBar: number
  start(rows: number): State
  /**
   * @param x (rows, width), what was played at the state's position; not heard at position -1
   * @param asked (plan_dim), of the bar in which the next step stands, for all rows; null asks nothing
   */
  step(x: Uint8Array, asked: Float32Array | null, state: State): { state: State; output: Output }
}

/** The plan of a piece, embedded: a vector for each bar from the first that is heard; after the last it stays. */
export interface Plan {
  bars: number
  /** Steps that were heard before its first bar. */
  firstStep: number
  dim: number
  asked: Float32Array
}

export function askedAt(plan: Plan | null, step: number, stepsPerBar: number): Float32Array | null {
  if (!plan) return null
  const bar = Math.min(Math.floor((step - plan.firstStep) / stepsPerBar), plan.bars - 1)
  return plan.asked.subarray(bar * plan.dim, (bar + 1) * plan.dim)
}

export function selectRows<T extends Float32Array | Uint8Array>(all: T, count: number, rows: ArrayLike<number>): T {
  const size = all.length / count
  const found = new (all.constructor as new (size: number) => T)(rows.length * size)
  for (let i = 0; i < rows.length; i++) found.set(all.subarray(rows[i] * size, (rows[i] + 1) * size), i * size)
  return found
}

export function selectOutput(output: Output, rows: ArrayLike<number>, count: number): Output {
  return {
    dist: Array.from(rows, (row) => output.dist[row]),
    free: Array.from(rows, (row) => output.free[row]),
    features: selectRows(output.features, count, rows),
  }
}

/**
 * What has been heard, so that one can go on from it: the state before the last step, and that step.
 *
 * The last step waits because what is asked of the next is told when it is played.
 */
export interface Heard {
  state: State
  last: Uint8Array
}

export function nothing(stepper: Stepper, rows = 1): Heard {
  return { state: stepper.start(rows), last: new Uint8Array(rows * stepper.width) }
}

/** Steps heard. */
export function length(heard: Heard): number {
  return heard.state.position + 1
}

/** After hearing the last step: the state, and the distribution of the next. */
export function predict(stepper: Stepper, heard: Heard, plan: Plan | null) {
  return stepper.step(heard.last, askedAt(plan, length(heard), stepper.stepsPerBar), heard.state)
}

/**
 * Hear some more steps.
 *
 * @param hits (steps, width), for all rows
 * @param onStep is given the number of the step, and the output and what had been heard before it
 */
export async function listen(
  stepper: Stepper, heard: Heard, hits: Uint8Array, onStep?: (step: number, output: Output, before: Heard) => void | Promise<void>,
): Promise<Heard> {
  const { width } = stepper
  const rows = heard.state.rows
  for (let step = 0; step * width < hits.length; step++) {
    const { state, output } = stepper.step(heard.last, null, heard.state)
    await onStep?.(step, output, heard)
    const last = new Uint8Array(rows * width)
    for (let row = 0; row < rows; row++) last.set(hits.subarray(step * width, (step + 1) * width), row * width)
    heard = { state, last }
  }
  return heard
}

/** Cells that are fixed, (steps, width); after the last step nothing is. */
export interface Locks {
  known: Uint8Array
  values: Uint8Array
  /** Of each step, 1 for the voices of which at least one sounds. */
  some?: Uint8Array | null
}

/** The locked cells and the set of a step, or null where there are neither. */
export function lockAt(locks: Locks | null, step: number, width: number): Lock | null {
  if (!locks || (step + 1) * width > locks.known.length) return null
  const of = (cells: Uint8Array) => cells.subarray(step * width, (step + 1) * width)
  const lock = { known: of(locks.known), values: of(locks.values), some: locks.some ? of(locks.some) : null }
  return lock.known.includes(1) || lock.some?.includes(1) ? lock : null
}

/**
 * Steps without end, each drawn given all before it.
 *
 * Yields each step's hits (rows, width), the output that it was drawn from, and what has then been heard.
 *
 * @param locks from the first new step on
 */
export function* stream(
  stepper: Stepper, heard: Heard, plan: Plan | null, rules: Rules, locks: Locks | null, seed: number,
): Generator<{ hits: Uint8Array; output: Output; heard: Heard }> {
  for (let step = 0; ; step++) {
    const { state, output } = predict(stepper, heard, plan)
    const hits = drawRows(output, rules, lockAt(locks, step, stepper.width), seed, state, stepper.width)
    heard = { state, last: hits }
    yield { hits, output, heard }
  }
}

/** A step of each row (rows, width), drawn with the numbers of the state's position and of the row. */
export function drawRows(
  output: Output, rules: Rules, lock: Lock | null, seed: number, { rows, position }: State, width: number,
): Uint8Array {
  const hits = new Uint8Array(rows * width)
  for (let row = 0; row < rows; row++) {
    const drawn = uniforms(seed, HITS, row, position, 1 + width)
    draw(output.dist[row], output.free[row], rules, lock, drawn, hits.subarray(row * width, (row + 1) * width))
  }
  return hits
}
