import { expect, test } from 'vitest'
import { effectiveSampleSize, infill, keptByVariation, resample, span } from '../src/infill'
import type { Rules } from '../src/mixture'
import { HITS, uniforms, VARIATION } from '../src/rng'
import { type Output, type State, type Stepper, listen, nothing, predict, selectRows, stream } from '../src/player'

const PLAIN: Rules = { temperature: 1, topP: 1, bias: null, guidance: 0 }

class Past implements State {
  constructor(readonly rows: number, readonly position: number, readonly past: Float32Array) {}

  select(rows: ArrayLike<number>): Past {
    return new Past(rows.length, this.position, selectRows(this.past, this.rows, rows))
  }
}

/** Two voices; what is played depends on the last two steps. */
class Toy implements Stepper {
  width = 2
  stepsPerBar = 3

  start(rows: number): State {
    return new Past(rows, -1, new Float32Array(rows * 2))
  }

  step(x: Uint8Array, _asked: Float32Array | null, before: State): { state: State; output: Output } {
    const state = before as Past
    const past = state.past.map((value, i) => (state.position < 0 ? 0 : 0.5 * value + x[i]))
    const dist = Array.from({ length: state.rows }, (_, row) => {
      const [a, b] = past.subarray(row * 2)
      return {
        logWeights: Float64Array.of(Math.log(0.7), Math.log(0.3)),
        logits: Float64Array.of(1 - 2 * a, 2 * b - 1, -1.5 + a, 2 * a - b),
        voices: 2,
      }
    })
    return {
      state: new Past(state.rows, state.position + 1, past),
      output: { dist, free: dist, features: past },
    }
  }
}

const toy = new Toy()

async function logProb(hits: number[]): Promise<number> {
  let heard = nothing(toy)
  let total = 0
  for (let step = 0; step * 2 < hits.length; step++) {
    const { state, output } = predict(toy, heard, null)
    const { logWeights, logits } = output.dist[0]
    let p = 0
    for (let k = 0; k < 2; k++) {
      const cell = (v: number) => 1 / (1 + Math.exp((hits[step * 2 + v] ? -1 : 1) * logits[k * 2 + v]))
      p += Math.exp(logWeights[k]) * cell(0) * cell(1)
    }
    total += Math.log(p)
    heard = { state, last: Uint8Array.from(hits.slice(step * 2, step * 2 + 2)) }
  }
  return total
}

test('infill has the frequencies of the exact posterior', async () => {
  const known = Uint8Array.of(0, 0, 0, 1, 1, 1)
  const values = Uint8Array.of(0, 0, 0, 1, 0, 1)
  const posterior = new Map<string, number>()
  for (let number = 0; number < 8; number++) {
    const hits = [number & 1, (number >> 1) & 1, (number >> 2) & 1, 1, 0, 1]
    posterior.set(hits.join(''), Math.exp(await logProb(hits)))
  }
  const total = [...posterior.values()].reduce((a, b) => a + b, 0)
  const found = new Map<string, number>()
  const pieces = 3000
  for (let seed = 0; seed < pieces; seed++) {
    const { hits } = await infill(toy, nothing(toy), { known, values }, null, PLAIN, { particles: 24, horizonBars: null, seed })
    found.set(hits.join(''), (found.get(hits.join('')) ?? 0) + 1 / pieces)
  }
  let apart = 0
  for (const [hits, p] of posterior) apart += Math.abs(p / total - (found.get(hits) ?? 0)) / 2
  expect(apart).toBeLessThan(0.04)
  expect([...found.keys()].every((hits) => posterior.has(hits))).toBe(true)
})

test('a stream is the same whether heard at once or in two parts', async () => {
  const steps = async (heard: ReturnType<typeof nothing>, count: number, seed: number) => {
    const made: number[] = []
    for (const { hits } of stream(toy, heard, null, PLAIN, null, seed)) {
      made.push(...hits)
      if (made.length === 2 * count) break
    }
    return made
  }
  const primer = Uint8Array.of(1, 0, 0, 1, 1, 1)
  const whole = await listen(toy, nothing(toy), primer)
  const parts = await listen(toy, await listen(toy, nothing(toy), primer.subarray(0, 2)), primer.subarray(2))
  expect(await steps(whole, 20, 3)).toEqual(await steps(parts, 20, 3))
  expect(await steps(whole, 20, 3)).not.toEqual(await steps(whole, 20, 4))
})

test('a step is drawn with the numbers of its position and row', async () => {
  const heard = await listen(toy, nothing(toy, 3), Uint8Array.of(1, 0, 0, 1, 1, 1))
  for (const { hits, output, heard: after } of stream(toy, heard, null, PLAIN, null, 5)) {
    for (let row = 0; row < 3; row++) {
      const [u, ...ofVoices] = uniforms(5, HITS, row, after.state.position, 3)
      const { logits, logWeights } = output.dist[row]
      const k = u < Math.exp(logWeights[0]) ? 0 : 1
      const expected = ofVoices.map((own, v) => (own < 1 / (1 + Math.exp(-logits[k * 2 + v])) ? 1 : 0))
      expect([...hits.subarray(row * 2, row * 2 + 2)]).toEqual(expected)
    }
    if (after.state.position === 40) break
  }
  expect(heard.state.position + 1).toBe(3) // so that the first of them is of step 3
})

test('of a stream that goes on from what it has made the rest is the same', async () => {
  const whole: number[] = []
  let middle = nothing(toy)
  for (const { hits, heard } of stream(toy, nothing(toy), null, PLAIN, null, 6)) {
    whole.push(...hits)
    if (whole.length === 20) middle = heard
    if (whole.length === 60) break
  }
  const rest: number[] = []
  for (const { hits } of stream(toy, middle, null, PLAIN, null, 6)) {
    rest.push(...hits)
    if (rest.length === 40) break
  }
  expect(rest).toEqual(whole.slice(20))
})

test('where nothing is weighed infill gives the steps of the stream, in any number of particles', async () => {
  const primer = await listen(toy, nothing(toy), Uint8Array.of(1, 0, 0, 1))
  const made: number[] = []
  for (const { hits } of stream(toy, primer, null, PLAIN, null, 9)) {
    made.push(...hits)
    if (made.length === 24) break
  }
  const locks = { known: new Uint8Array(24), values: new Uint8Array(24) }
  for (const particles of [1, 8]) {
    const { hits } = await infill(toy, primer, locks, null, PLAIN, { particles, horizonBars: null, seed: 9 })
    expect([...hits]).toEqual(made)
  }
})

test('rows are selected with their state', () => {
  const chosen = new Past(2, 4, Float32Array.of(1, 2, 3, 4)).select([1, 1, 0])
  expect([...chosen.past]).toEqual([3, 4, 3, 4, 1, 2])
  expect([...selectRows(Uint8Array.of(5, 6), 2, [1, 0, 1])]).toEqual([6, 5, 6])
})

test('systematic resampling keeps each particle about as often as it weighs', () => {
  const logWeights = Float64Array.from([0.5, 0.25, 0.25, 0], Math.log)
  expect(resample(logWeights, 4, 0.5)).toEqual([0, 0, 1, 2])
  expect(resample(logWeights, 1, 0.6)).toEqual([1])
  expect(effectiveSampleSize(new Float64Array(8))).toBeCloseTo(8, 12)
  expect(effectiveSampleSize(Float64Array.of(0, -1000))).toBeCloseTo(1, 12)
})

test('the span of an infill: first and last free step, and the last that is weighed', () => {
  const known = Uint8Array.from([1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1])
  expect(span({ known, values: known }, 2, 1, null)).toEqual({ first: 1, last: 2, weighed: 5 })
  expect(span({ known, values: known }, 2, 1, 1)).toEqual({ first: 1, last: 2, weighed: 3 })
})

test('a variation frees its share of beats and voices, and a stronger one those of a weaker', () => {
  const [weak, strong] = [0.25, 0.75].map((strength) => keptByVariation(32, 10, 4, strength, 9))
  expect(weak.filter((cell) => !cell).length).toBe(0.25 * 320)
  expect(strong.filter((cell) => !cell).length).toBe(0.75 * 320)
  weak.forEach((cell, i) => { if (!cell) expect(strong[i]).toBe(0) })
  expect(keptByVariation(32, 10, 4, 0, 9).every((cell) => cell === 1)).toBe(true)
})

test('the chunks of a variation have the numbers of their place, beat by beat and voice by voice', () => {
  const [beats, voices] = [900, 10] // more than the numbers of one step
  const draws = [...uniforms(9, VARIATION, 0, 0, 8192), ...uniforms(9, VARIATION, 0, 1, beats * voices - 8192)]
  const middle = [...draws].sort((a, b) => a - b)[beats * voices / 2]
  const known = keptByVariation(beats, voices, 1, 0.5, 9)
  expect([...known]).toEqual(draws.map((u) => (u < middle ? 0 : 1)))
})
