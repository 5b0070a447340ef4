import { expect, test } from 'vitest'
import { draw, logEvidence, logProbs, logSumExp, normalised, sigmoid, tilt, type Mixture, type Rules } from '../src/mixture'
import { HITS, uniforms } from '../src/rng'

const PLAIN: Rules = { temperature: 1, topP: 1, bias: null, guidance: 0 }

function someMixture(voices: number, components: number, seed: number): Mixture {
  const logWeights = normalised(uniforms(seed, HITS, 0, 0, components).map((u) => 3 * u))
  const logits = uniforms(seed, HITS, 0, 1, components * voices).map((u) => 8 * u - 5)
  return { logWeights, logits, voices }
}

/** log p of one combination, by the formula. */
function logProb(dist: Mixture, number: number): number {
  return Math.log(dist.logWeights.reduce((sum, weight, k) => {
    let p = Math.exp(weight)
    for (let v = 0; v < dist.voices; v++) {
      const yes = sigmoid(dist.logits[k * dist.voices + v])
      p *= (number >> v) & 1 ? yes : 1 - yes
    }
    return sum + p
  }, 0))
}

function frequencies(dist: Mixture, free: Mixture | null, rules: Rules, lock: Parameters<typeof draw>[3], draws: number): number[] {
  const counts = new Array(2 ** dist.voices).fill(0)
  const out = new Uint8Array(dist.voices)
  for (let i = 0; i < draws; i++) {
    draw(dist, free, rules, lock, uniforms(5, HITS, 0, i, 1 + dist.voices), out)
    counts[out.reduce((sum, hit, v) => sum + (hit << v), 0)] += 1 / draws
  }
  return counts
}

function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < a.length; i++) total += Math.abs(a[i] - b[i]) / 2
  return total
}

test.each([1, 3, 4, 7])('log probabilities of %i voices are those of the formula', (voices) => {
  const dist = someMixture(voices, 5, voices)
  const found = logProbs(dist)
  expect(logSumExp(found)).toBeCloseTo(0, 12)
  found.forEach((value, number) => expect(value).toBeCloseTo(logProb(dist, number), 10))
})

test('plain draws and listed draws have the same frequencies', () => {
  const dist = someMixture(4, 6, 1)
  const expected = logProbs(dist).map(Math.exp)
  expect(apart(frequencies(dist, null, PLAIN, null, 40_000), expected)).toBeLessThan(0.02)
  expect(apart(frequencies(dist, null, { ...PLAIN, topP: 1 - 1e-12 }, null, 40_000), expected)).toBeLessThan(0.02)
})

test('bias tilts plain and listed draws alike', () => {
  const dist = someMixture(4, 6, 2)
  const bias = Float64Array.of(1, -2, 0, 0.5)
  const wanted = logProbs(dist).map((value, i) => value + bias.reduce((sum, b, v) => sum + (((i >> v) & 1) ? b : 0), 0))
  const norm = logSumExp(wanted)
  const expected = wanted.map((value) => Math.exp(value - norm))
  logProbs(tilt(dist, bias)).forEach((value, i) => expect(Math.exp(value)).toBeCloseTo(expected[i], 10))
  expect(apart(frequencies(dist, null, { ...PLAIN, bias }, null, 40_000), expected)).toBeLessThan(0.02)
  expect(apart(frequencies(dist, null, { ...PLAIN, bias, topP: 1 - 1e-12 }, null, 40_000), expected)).toBeLessThan(0.02)
})

test.each([1, 0.8])('locked cells stay, the others are drawn given them, at temperature %d', (temperature) => {
  const dist = someMixture(4, 6, 3)
  const lock = { known: Uint8Array.of(1, 0, 0, 1), values: Uint8Array.of(1, 0, 0, 0) }
  const weights = Array.from(logProbs(dist), (value, i) => ((i & 0b1001) === 0b0001 ? Math.exp(value / temperature) : 0))
  const total = weights.reduce((a, b) => a + b, 0)
  expect(apart(frequencies(dist, null, { ...PLAIN, temperature }, lock, 40_000), weights.map((w) => w / total))).toBeLessThan(0.02)
  if (temperature === 1) expect(logEvidence(dist, lock)).toBeCloseTo(Math.log(total), 10)
})

test('guidance raises p(asked)^(1 + g) / p(free)^g', () => {
  const [asked, free] = [someMixture(3, 4, 4), someMixture(3, 4, 5)]
  const other = logProbs(free)
  const weights = Array.from(logProbs(asked), (value, i) => Math.exp(2.5 * value - 1.5 * other[i]))
  const total = weights.reduce((a, b) => a + b, 0)
  const found = frequencies(asked, free, { ...PLAIN, guidance: 1.5 }, null, 40_000)
  expect(apart(found, weights.map((w) => w / total))).toBeLessThan(0.02)
  const bias = Float64Array.of(1, -2, 0.5)
  const tilted = weights.map((w, i) => w * Math.exp(bias.reduce((sum, b, v) => sum + (((i >> v) & 1) ? b : 0), 0)))
  const all = tilted.reduce((a, b) => a + b, 0)
  expect(apart(frequencies(asked, free, { ...PLAIN, bias, guidance: 1.5 }, null, 40_000), tilted.map((w) => w / all))).toBeLessThan(0.02)
  expect(() => draw(asked, null, { ...PLAIN, guidance: 1 }, null, new Float64Array(4), new Uint8Array(3))).toThrow('guidance')
})

test('temperature 0 takes the likeliest, of equal ones the lowest number, whatever is drawn', () => {
  const even: Mixture = { logWeights: Float64Array.of(0), logits: new Float64Array(3), voices: 3 }
  for (const u of [0, 0.5, 0.999]) {
    const out = Uint8Array.of(1, 1, 1)
    draw(even, null, { ...PLAIN, temperature: 0 }, null, [u, u, u, u], out)
    expect([...out]).toEqual([0, 0, 0])
  }
})

test('top_p keeps the likeliest that hold it', () => {
  const dist: Mixture = { logWeights: Float64Array.of(0), logits: Float64Array.of(Math.log(0.6 / 0.4), Math.log(0.9 / 0.1)), voices: 2 }
  const found = frequencies(dist, null, { ...PLAIN, topP: 0.7 }, null, 20_000) // .54, .36, .06, .04
  expect(found[3]).toBeCloseTo(0.6, 1)
  expect(found[2]).toBeCloseTo(0.4, 1)
  expect(found[0] + found[1]).toBe(0)
})

test('at least one of a set: its probability and draws given it are those of a count of all combinations', () => {
  const dist = someMixture(4, 6, 4)
  const all = logProbs(dist).map(Math.exp)
  const lock = { known: Uint8Array.of(0, 1, 0, 0), values: Uint8Array.of(0, 1, 0, 0), some: Uint8Array.of(1, 0, 1, 0) }
  const isOne = (i: number) => ((i >> 1) & 1) === 1 && (i & 0b101) > 0
  const total = all.reduce((sum, p, i) => sum + (isOne(i) ? p : 0), 0)
  expect(logEvidence(dist, lock)).toBeCloseTo(Math.log(total), 10)
  const expected = all.map((p, i) => (isOne(i) ? p / total : 0))
  expect(apart(frequencies(dist, null, PLAIN, lock, 40_000), expected)).toBeLessThan(0.02)
  expect(apart(frequencies(dist, null, { ...PLAIN, topP: 1 - 1e-12 }, lock, 40_000), expected)).toBeLessThan(0.02)
  // A known hit of the set is enough, and an empty set demands nothing.
  for (const some of [Uint8Array.of(0, 1, 1, 0), new Uint8Array(4)]) {
    expect(logEvidence(dist, { ...lock, some })).toBe(logEvidence(dist, { ...lock, some: null }))
  }
  expect(logEvidence(dist, { known: Uint8Array.of(1, 0, 0, 0), values: new Uint8Array(4), some: Uint8Array.of(1, 0, 0, 0) })).toBe(-Infinity)
})
