/** Free cells filled around locked ones, by a particle filter on the model's state; as in `hypermeter.play`. */

import { logEvidence, logSumExp, tilt, type Rules } from './mixture'
import {
  type Heard, type Locks, type Plan, type Stepper,
  drawRows, lockAt, predict, selectOutput,
} from './player'
import { NUMBERS_OF_STEP, RESAMPLING, uniforms, VARIATION } from './rng'

export interface Infilled {
  /** (steps, width). */
  hits: Uint8Array
  /** Of each step. */
  effectiveSampleSize: Float64Array
  smallest: number
}

export interface InfillOptions {
  particles: number
  /** Bars after the last free cell that are weighed; null weighs all. */
  horizonBars: number | null
  seed: number
  /** Called after each step; it may throw to stop. */
  onStep?: (step: number, steps: number) => void | Promise<void>
}

export async function infill(
  stepper: Stepper, heard: Heard, locks: Locks, plan: Plan | null, rules: Rules, options: InfillOptions,
): Promise<Infilled> {
  const { width, stepsPerBar } = stepper
  const { particles, seed } = options
  const steps = locks.known.length / width
  const { first, last, weighed } = span(locks, width, stepsPerBar, options.horizonBars)
  const sizes = new Float64Array(steps).fill(particles)
  let rows = 1
  let logWeights = new Float64Array(1)
  let made: Uint8Array[] = [new Uint8Array(locks.known.length)]
  for (let step = 0; step < steps; step++) {
    if (step === first && weighed > first && particles > 1) {
      rows = particles
      const spread = new Array(rows).fill(0)
      heard = { state: heard.state.select(spread), last: repeat(heard.last, rows) }
      made = spread.map(() => made[0].slice())
      logWeights = new Float64Array(rows)
    }
    let { state, output } = predict(stepper, heard, plan)
    const lock = lockAt(locks, step, width)
    if (lock && step <= weighed && rows > 1) {
      for (let row = 0; row < rows; row++) {
        logWeights[row] += logEvidence(rules.bias ? tilt(output.dist[row], rules.bias) : output.dist[row], lock)
      }
    }
    if (rows > 1) {
      sizes[step] = effectiveSampleSize(logWeights)
      const ends = step === weighed
      if ((sizes[step] < particles / 2 && step <= last) || ends) {
        const number = ends ? 1 : particles
        const chosen = resample(logWeights, number, uniforms(seed, RESAMPLING, 0, state.position, 1)[0])
        state = state.select(chosen)
        output = selectOutput(output, chosen, rows)
        made = chosen.map((row) => made[row].slice())
        rows = number
        logWeights = new Float64Array(rows)
      }
    }
    const hits = drawRows(output, rules, lock, seed, state, width)
    made.forEach((own, row) => own.set(hits.subarray(row * width, (row + 1) * width), step * width))
    heard = { state, last: hits }
    await options.onStep?.(step, steps)
  }
  return { hits: made[0], effectiveSampleSize: sizes, smallest: Math.min(particles, ...sizes) }
}

function repeat(row: Uint8Array, rows: number): Uint8Array {
  const all = new Uint8Array(row.length * rows)
  for (let i = 0; i < rows; i++) all.set(row, i * row.length)
  return all
}

/** The first and the last step with a free cell, and the last that is weighed; or -1. */
export function span(locks: Locks, width: number, stepsPerBar: number, horizonBars: number | null) {
  const steps = locks.known.length / width
  let [first, last, weighed] = [-1, -1, -1]
  const isFree = (step: number, wanted: number) =>
    locks.known.subarray(step * width, (step + 1) * width).some((cell) => cell === wanted)
  for (let step = 0; step < steps; step++) {
    if (!isFree(step, 0)) continue
    if (first < 0) first = step
    last = step
  }
  const until = horizonBars === null ? steps - 1 : Math.min(steps - 1, last + horizonBars * stepsPerBar)
  const hasSome = (step: number) => !!locks.some?.subarray(step * width, (step + 1) * width).includes(1)
  for (let step = 0; step <= until; step++) if (isFree(step, 1) || hasSome(step)) weighed = step
  return { first, last, weighed }
}

/** 1 / sum of squared normalised weights, in [1, particles] (Kong, Liu & Wong 1994). */
export function effectiveSampleSize(logWeights: Float64Array): number {
  const norm = logSumExp(logWeights)
  let squares = 0
  for (const w of logWeights) squares += Math.exp(w - norm) ** 2
  return 1 / squares
}

/** Systematic resampling: which particles go on, `number` of them. */
export function resample(logWeights: Float64Array, number: number, u: number): number[] {
  const norm = logSumExp(logWeights)
  const chosen: number[] = []
  let row = 0
  let bound = Math.exp(logWeights[0] - norm)
  for (let i = 0; i < number; i++) {
    const place = (u + i) / number
    while (bound < place && row < logWeights.length - 1) bound += Math.exp(logWeights[++row] - norm)
    chosen.push(row)
  }
  return chosen
}

/**
 * Which cells a variation leaves as they are: a share `strength` of the chunks of one beat and one voice is freed.
 *
 * With the same seed the chunks of a smaller strength are among those of a larger.
 */
export function keptByVariation(
  steps: number, width: number, stepsPerBeat: number, strength: number, seed: number,
): Uint8Array {
  const beats = Math.ceil(steps / stepsPerBeat)
  const draws = new Float64Array(beats * width)
  for (let from = 0; from < draws.length; from += NUMBERS_OF_STEP) {
    const count = Math.min(draws.length - from, NUMBERS_OF_STEP)
    draws.set(uniforms(seed, VARIATION, 0, from / NUMBERS_OF_STEP, count), from)
  }
  const order = Array.from(draws.keys()).sort((i, j) => draws[i] - draws[j] || i - j)
  const freed = new Uint8Array(draws.length)
  for (const place of order.slice(0, Math.floor(strength * draws.length + 0.5))) freed[place] = 1
  const known = new Uint8Array(steps * width)
  for (let step = 0; step < steps; step++) {
    for (let v = 0; v < width; v++) known[step * width + v] = 1 - freed[Math.floor(step / stepsPerBeat) * width + v]
  }
  return known
}
