/** Several takes of one request that differ: the most different of a larger number that are drawn; as `hypermeter.play.takes`. */

import { LEAST_SEED, MOST_SEED } from './bounds'
import type { Part } from './song'

/** Takes that are drawn for each that is kept. */
const DRAWN_PER_TAKE = 4

export interface Take {
  part: Part
  /** By which the same request gives it alone. */
  seed: number
  /** From the nearest of the other takes; NaN of a take alone. */
  distance: number
}

/** The seed so many after another; after the greatest comes the least. */
export function seedAfter(first: number, count: number): number {
  return first <= MOST_SEED - count ? first + count : LEAST_SEED + (count - (MOST_SEED - first) - 1)
}

/** Requests that so many takes are. */
export function drawsOf(takes: number): number {
  return takes === 1 ? 1 : takes * DRAWN_PER_TAKE
}

/**
 * How different two parts of one length are: 0 for equal ones, 1 for hits that never coincide.
 *
 * It is 1 less the sum of the smaller velocities over that of the larger, and, of hits that coincide, the mean distance
 * of their offsets in steps, as a share of the hits.
 */
export function distanceOf(one: Part, other: Part): number {
  let [most, least, delays, either] = [0, 0, 0, 0]
  for (let cell = 0; cell < one.hits.length; cell++) {
    const [first, second] = [one, other].map(({ hits, velocity }) => (hits[cell] ? velocity[cell] : 0))
    most += Math.max(first, second)
    least += Math.min(first, second)
    either += one.hits[cell] | other.hits[cell]
    if (one.hits[cell] && other.hits[cell]) delays += Math.abs(one.offset[cell] - other.offset[cell])
  }
  return most ? 1 - least / most + delays / either : 0
}

/** The places of so many parts: the first, and then each time the one furthest from those before. */
export function mostDifferent(parts: Part[], count: number): { chosen: number[]; distances: number[] } {
  const chosen = [0]
  const nearest = parts.map((part) => distanceOf(parts[0], part))
  while (chosen.length < count) {
    for (const place of chosen) nearest[place] = -1
    const furthest = nearest.reduce((best, distance, place) => (distance > nearest[best] ? place : best), 0)
    chosen.push(furthest)
    parts.forEach((part, place) => { nearest[place] = Math.min(nearest[place], distanceOf(parts[furthest], part)) })
  }
  const distances = chosen.map((place) => {
    const others = chosen.filter((other) => other !== place).map((other) => distanceOf(parts[place], parts[other]))
    return others.length ? Math.min(...others) : NaN
  })
  return { chosen, distances }
}

/**
 * Takes that differ, of those that are drawn with successive seeds; the first is of the first seed.
 *
 * @param draw the music of a seed
 */
export async function drawTakes(draw: (seed: number, number: number) => Promise<Part>, count: number, first: number): Promise<Take[]> {
  const parts: Part[] = []
  while (parts.length < drawsOf(count)) parts.push(await draw(seedAfter(first, parts.length), parts.length))
  const { chosen, distances } = mostDifferent(parts, count)
  return chosen.map((place, row) => ({ part: parts[place], seed: seedAfter(first, place), distance: distances[row] }))
}
