/** How hits are played: velocity and offset drawn from the expression's distribution, in doubles. */

import type { Distribution } from './expressing'
import type { Bins } from './meta'
import { logSumExp, softplus } from './mixture'
import { EXPRESSION, uniforms } from './rng'

/** How some hits of a step are played already; NaN is not told. */
export interface Told {
  known: Uint8Array
  velocity: ArrayLike<number>
  offset: ArrayLike<number>
}

const LEAST = 1e-6

/** Random numbers of a step: one for the component, one for each voice's velocity, then one for each voice's offset. */
export function noise(seed: number, step: number, voices: number): Float64Array {
  return uniforms(seed, EXPRESSION, 0, step, 1 + 2 * voices)
}

/** Velocity and offset of each hit of a step, 0 where there is none. */
export function play(
  dist: Distribution, hits: Uint8Array, drawn: Float64Array, velocityBins: Bins, offsetBins: Bins,
  told: Told | null = null,
): { velocity: Float32Array; offset: Float32Array } {
  const voices = hits.length
  const logWeights = told ? condition(dist, told, voices, velocityBins, offsetBins) : dist.logWeights
  const { velocityMean, velocityScale, offsetMean, offsetScale } = dist.of(component(logWeights, drawn[0]))
  const velocity = new Float32Array(voices)
  const offset = new Float32Array(voices)
  for (let v = 0; v < voices; v++) {
    if (!hits[v]) continue
    velocity[v] = inBin(velocityMean[v] + velocityScale[v] * logistic(drawn[1 + v]), velocityBins)
    offset[v] = inBin(offsetMean[v] + offsetScale[v] * logistic(drawn[1 + voices + v]), offsetBins)
  }
  return { velocity, offset }
}

function component(logWeights: Float64Array, u: number): number {
  const norm = logSumExp(logWeights)
  const weights = logWeights.map((w) => Math.exp(w - norm))
  const bound = u * weights.reduce((sum, w) => sum + w, 0)
  let sum = 0
  for (let k = 0; k < weights.length; k++) {
    sum += weights[k]
    if (sum > bound) return k
  }
  return weights.length - 1
}

function logistic(u: number): number {
  const within = Math.min(Math.max(u, LEAST), 1 - LEAST)
  return Math.log(within / (1 - within))
}

function binOf(value: number, bins: Bins): number {
  return Math.min(Math.max(Math.floor(value * bins.per_unit - bins.lowest + 0.5), 0), bins.count - 1)
}

function inBin(value: number, bins: Bins): number {
  return (binOf(value, bins) + bins.lowest) / bins.per_unit
}

/** Log weights of the components given how the known hits are played. */
function condition(dist: Distribution, told: Told, voices: number, velocityBins: Bins, offsetBins: Bins): Float64Array {
  return dist.logWeights.map((weight, k) => {
    const { velocityMean, velocityScale, offsetMean, offsetScale } = dist.of(k)
    let total = weight
    for (let v = 0; v < voices; v++) {
      if (!told.known[v]) continue
      for (const [value, mean, scale, bins] of [
        [told.velocity[v], velocityMean[v], velocityScale[v], velocityBins],
        [told.offset[v], offsetMean[v], offsetScale[v], offsetBins],
      ] as const) {
        if (!Number.isNaN(value)) total += logProbOfBin(binOf(value, bins), mean, scale, bins)
      }
    }
    return total
  })
}

/** log(s(b) - s(a)) as log s(b) + log s(-a) + log(1 - exp(a - b)), of the edges of the bin. */
function logProbOfBin(number: number, mean: number, scale: number, bins: Bins): number {
  const edge = (place: number) => (place + bins.lowest) / bins.per_unit
  const below = number <= 0 ? -Infinity : edge(number - 0.5)
  const above = number >= bins.count - 1 ? Infinity : edge(number + 0.5)
  const a = (below - mean) / scale
  const b = (above - mean) / scale
  return -softplus(-b) - softplus(a) + Math.log(-Math.expm1(a - b))
}

