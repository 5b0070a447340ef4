import { expect, test, vi } from 'vitest'
import { MOST_SEED } from '../src/bounds'
import { emptyPart, type Part } from '../src/song'
import { distanceOf, drawTakes, mostDifferent, seedAfter } from '../src/takes'

function part(steps: number[], velocity = 0.8, offset = 0): Part {
  const made = emptyPart(16)
  for (const step of steps) [made.hits[step], made.velocity[step], made.offset[step]] = [1, velocity, offset]
  return made
}

test('a distance is none of equal parts and one of hits apart', () => {
  const [one, apart] = [part([0, 4]), part([2, 6])]
  expect(distanceOf(one, one)).toBe(0)
  expect(distanceOf(part([]), part([]))).toBe(0)
  expect(distanceOf(one, apart)).toBe(1)
  expect(distanceOf(one, part([0]))).toBeCloseTo(0.5)
  expect(distanceOf(one, part([0, 4], 0.4))).toBeCloseTo(0.5)
  expect(distanceOf(one, part([0, 4], 0.8, 0.25))).toBeCloseTo(0.25)
  expect(distanceOf(one, part([0, 8]))).toBeCloseTo(2 / 3)
})

test('the most different are chosen one after another from the first on', () => {
  const parts = [part([0, 4]), part([0, 4], 0.79), part([0, 8]), part([2, 6, 10]), part([2, 6])]
  const { chosen, distances } = mostDifferent(parts, 3)
  expect(chosen).toEqual([0, 3, 2])
  distances.forEach((distance, i) => expect(distance).toBeCloseTo([2 / 3, 1, 2 / 3][i]))
  expect(mostDifferent(parts, 1)).toEqual({ chosen: [0], distances: [NaN] })
  expect(mostDifferent([part([0]), part([0]), part([0])], 3).chosen.sort()).toEqual([0, 1, 2]) // none comes twice
})

test('takes are of successive seeds, the first of the seed itself; one alone is drawn once', async () => {
  const draw = vi.fn(async (seed: number) => part([seed % 5, 8]))
  const takes = await drawTakes(draw, 3, 7)
  expect(draw.mock.calls.map(([seed]) => seed)).toEqual(Array.from({ length: 12 }, (_, i) => 7 + i))
  expect(takes[0].seed).toBe(7)
  expect(new Set(takes.map(({ seed }) => seed % 5)).size).toBe(3)
  draw.mockClear()
  expect((await drawTakes(draw, 1, 7))[0].distance).toBeNaN()
  expect(draw).toHaveBeenCalledTimes(1)
})

test('after the greatest seed comes the least', () => {
  expect(seedAfter(MOST_SEED, 0)).toBe(MOST_SEED)
  expect(seedAfter(MOST_SEED, 1)).toBe(0)
  expect(seedAfter(MOST_SEED - 1, 4)).toBe(2)
})
