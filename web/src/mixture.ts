/**
 * What the voices of one step play together: p(x) = sum_k pi_k prod_v Bernoulli(x_v; sigmoid(logit_kv)).
 *
 * All in doubles, as in `hypermeter.play`: what the model gives in floats is widened first.
 */

import { drawSome, logSome, openVoices } from './unions'

/** K components over V voices; `logits` row by row. */
export interface Mixture {
  readonly logWeights: Float64Array
  readonly logits: Float64Array
  readonly voices: number
  /** Of one component, where that is quicker than all. */
  logitsOf?(component: number): ArrayLike<number>
}

/** Cells of a step: 1 where known, and their values, 0 or 1. */
export interface Lock {
  known: Uint8Array
  values: Uint8Array
  /** 1 for the voices of which at least one sounds; none of them, or no set, demands nothing. */
  some?: Uint8Array | null
}

/** How a step is drawn. */
export interface Rules {
  /** 1 as learnt, lower is safer, 0 takes the likeliest. */
  temperature: number
  /** Only the likeliest combinations that together hold this probability; in (0, 1]. */
  topP: number
  /** Added to each voice's log odds, or null. */
  bias: Float64Array | null
  /** How much further a plan is followed than the model does by itself; 0 is the model itself. */
  guidance: number
}

/** Below this temperature the likeliest combination is taken. */
const COLDEST = 1e-6
/** Stands for a probability of 0 where its logarithm is taken. */
const TINY = 1e-300

export function softplus(x: number): number {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x))
}

export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x))
  const e = Math.exp(x)
  return e / (1 + e)
}

export function logSumExp(values: ArrayLike<number>): number {
  let most = -Infinity
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i]
  if (most === -Infinity) return -Infinity
  let total = 0
  for (let i = 0; i < values.length; i++) total += Math.exp(values[i] - most)
  return most + Math.log(total)
}

/** So that their exponentials sum to 1. */
export function normalised(logWeights: Float64Array): Float64Array {
  const norm = logSumExp(logWeights)
  return logWeights.map((w) => w - norm)
}

/** p(x) exp(bias . x), normalised. */
export function tilt(dist: Mixture, bias: Float64Array): Mixture {
  const { logWeights, logits, voices } = dist
  const tilted = new Float64Array(logits.length)
  const weights = new Float64Array(logWeights.length)
  for (let k = 0; k < logWeights.length; k++) {
    let gain = 0
    for (let v = 0; v < voices; v++) {
      const at = k * voices + v
      tilted[at] = logits[at] + bias[v]
      gain += softplus(tilted[at]) - softplus(logits[at])
    }
    weights[k] = logWeights[k] + gain
  }
  return { logWeights: normalised(weights), logits: tilted, voices }
}

/** Each component's log weight with the lock: log p(known cells, and a hit of its set) of the component is in it. */
function evidence(dist: Mixture, lock: Lock): Float64Array {
  const { logWeights, logits, voices } = dist
  const weights = new Float64Array(logWeights.length)
  const open = openVoices(lock)
  for (let k = 0; k < logWeights.length; k++) {
    let sum = open ? logSome(logits, k * voices, open) : 0
    for (let v = 0; v < voices; v++) {
      if (!lock.known[v]) continue
      const logit = logits[k * voices + v]
      sum -= softplus(lock.values[v] ? -logit : logit)
    }
    weights[k] = logWeights[k] + sum
  }
  return weights
}

/** log p(locked cells of the step, and a hit of its set), in nats. */
export function logEvidence(dist: Mixture, lock: Lock): number {
  return logSumExp(evidence(dist, lock))
}

/**
 * log p of all 2^V combinations; bit v of a combination's number is voice v.
 *
 * In a component the voices' halves are independent, so that 2 * 2^(V/2) products stand for 2^V of them.
 */
export function logProbs(dist: Mixture): Float64Array {
  const { logWeights, logits, voices } = dist
  const half = voices >> 1
  const [lows, highs] = [2 ** half, 2 ** (voices - half)]
  const total = new Float64Array(lows * highs)
  const low = new Float64Array(lows)
  const high = new Float64Array(highs)
  for (let k = 0; k < logWeights.length; k++) {
    low[0] = Math.exp(logWeights[k])
    multiply(low, logits, k * voices, half)
    high[0] = 1
    multiply(high, logits, k * voices + half, voices - half)
    for (let i = 0, at = 0; i < highs; i++) {
      const factor = high[i]
      for (let j = 0; j < lows; j++) total[at++] += factor * low[j]
    }
  }
  for (let i = 0; i < total.length; i++) total[i] = Math.log(Math.max(total[i], TINY))
  return total
}

/** All combinations of some voices, times what stands first in `table`. */
function multiply(table: Float64Array, logits: Float64Array, first: number, voices: number): void {
  for (let v = 0, size = 1; v < voices; v++, size *= 2) {
    const yes = sigmoid(logits[first + v])
    const no = sigmoid(-logits[first + v])
    for (let i = 0; i < size; i++) {
      table[size + i] = table[i] * yes
      table[i] *= no
    }
  }
}

/** One of the places by cumulative weight in order: the first whose sum passes u times the total. */
function choose(weights: Float64Array, u: number): number {
  let total = 0
  for (let i = 0; i < weights.length; i++) total += weights[i]
  const bound = u * total
  let sum = 0
  let last = 0
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i]
    if (sum > bound) return i
    if (weights[i] > 0) last = i
  }
  return last
}

/**
 * Draw a step into `out` (V cells of 0 or 1).
 *
 * With temperature 1, top_p 1 and no guidance the first number chooses the component and number 1 + v the hit of voice
 * v, locked or not. Otherwise all combinations are listed and the first number chooses one; at temperature 0, none does.
 *
 * @param dist under the plan, if there is one
 * @param free without the plan; needed where there is guidance
 * @param drawn (1 + V) numbers in [0, 1)
 */
export function draw(
  dist: Mixture, free: Mixture | null, rules: Rules, lock: Lock | null, drawn: ArrayLike<number>, out: Uint8Array,
): void {
  const { temperature, topP, bias, guidance } = rules
  if (guidance && !free) throw new Error('guidance needs the distribution without the plan')
  if (bias) [dist, free] = [tilt(dist, bias), guidance && free ? tilt(free, bias) : null]
  const { voices } = dist
  if (temperature === 1 && topP === 1 && !guidance) {
    const logWeights = lock ? evidence(dist, lock) : dist.logWeights
    const norm = logSumExp(logWeights)
    const k = choose(logWeights.map((w) => Math.exp(w - norm)), drawn[0])
    const logits = dist.logitsOf ? dist.logitsOf(k) : dist.logits.subarray(k * voices, (k + 1) * voices)
    const open = lock && openVoices(lock)
    if (open) drawSome(logits, open, drawn, out)
    else for (let v = 0; v < voices; v++) out[v] = drawn[1 + v] < sigmoid(logits[v]) ? 1 : 0
  } else {
    const number = chooseCombination(scores(dist, free, guidance), rules, lock, drawn[0])
    for (let v = 0; v < voices; v++) out[v] = (number >> v) & 1
  }
  if (lock) for (let v = 0; v < voices; v++) if (lock.known[v]) out[v] = lock.values[v]
}

/** Of all combinations, not normalised. */
function scores(asked: Mixture, free: Mixture | null, guidance: number): Float64Array {
  const found = logProbs(asked)
  if (guidance && free) {
    const other = logProbs(free)
    const { entropy } = moments(found)
    for (let i = 0; i < found.length; i++) found[i] = (1 + guidance) * found[i] - guidance * other[i]
    beAsCertain(found, entropy - CERTAINTY * Math.max(entropy - moments(other).entropy, 0))
  }
  return found
}

/** Share of the way from the entropy under the plan to that without it, where that is lower, to which guidance keeps. */
const CERTAINTY = 0.3
/** In nats, within which `beAsCertain` reaches an entropy. */
const ENTROPY_TOLERANCE = 1e-6
/** Most steps in which it searches its power. */
const MAX_SEARCHES = 30

/**
 * Raises probabilities to the least power, 1 or more, with which their entropy is at most the given one, in place.
 *
 * Guidance multiplies what the plan changes. Where the plan is a little less sure than the music so far, that is multiplied
 * too, and the music no longer repeats itself: the power takes it back.
 */
function beAsCertain(found: Float64Array, entropy: number): void {
  let power = 1
  for (let search = 0; search < MAX_SEARCHES; search++) {
    const now = moments(found, power)
    const excess = now.entropy - entropy
    if (Math.abs(excess) <= ENTROPY_TOLERANCE || (power === 1 && excess < 0)) break
    const newton = power * (1 + excess / Math.max(now.variance, 1e-9)) // the entropy falls by variance / power
    power = Math.min(Math.max(newton, 1, power / 2), 2 * power)
  }
  for (let i = 0; i < found.length; i++) found[i] *= power
}

/** The entropy in nats, and the variance of log p, of log probabilities that need not be normalised, times a power. */
function moments(found: Float64Array, power = 1): { entropy: number; variance: number } {
  let most = -Infinity
  for (let i = 0; i < found.length; i++) if (found[i] > most) most = found[i]
  let [total, first, second] = [0, 0, 0]
  for (let i = 0; i < found.length; i++) {
    const score = power * Math.max(found[i] - most, -700)
    const weight = Math.exp(score)
    total += weight
    first += weight * score
    second += weight * score * score
  }
  const mean = first / total
  return { entropy: Math.log(total) - mean, variance: second / total - mean * mean }
}

function chooseCombination(found: Float64Array, rules: Rules, lock: Lock | null, u: number): number {
  const { temperature, topP } = rules
  if (lock) {
    let mask = 0
    let wanted = 0
    for (let v = 0; v < lock.known.length; v++) {
      if (!lock.known[v]) continue
      mask |= 1 << v
      wanted |= lock.values[v] << v
    }
    const some = lock.some?.reduce((bits, own, v) => bits | (own << v), 0) ?? 0
    for (let i = 0; i < found.length; i++) if ((i & mask) !== wanted || (some && !(i & some))) found[i] = -Infinity
  }
  if (temperature < COLDEST) {
    let best = 0
    for (let i = 1; i < found.length; i++) if (found[i] > found[best]) best = i
    return best
  }
  let most = -Infinity
  for (let i = 0; i < found.length; i++) if (found[i] > most) most = found[i]
  const weights = found.map((value) => Math.exp((value - most) / temperature))
  if (topP < 1) truncate(weights, topP)
  return choose(weights, u)
}

/** Sets to 0 all but the likeliest that together hold `topP`; of equal ones the lower number is first. */
function truncate(weights: Float64Array, topP: number): void {
  let total = 0
  for (let i = 0; i < weights.length; i++) total += weights[i]
  const order = Array.from(weights.keys()).sort((i, j) => weights[j] - weights[i] || i - j)
  let before = 0
  for (const place of order) {
    const share = weights[place] / total
    if (before >= topP) weights[place] = 0
    before += share
  }
}
