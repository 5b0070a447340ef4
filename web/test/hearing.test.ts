import { expect, test } from 'vitest'
import { Hearing, type Placed } from '../src/hearing'
import type { HeardSong } from '../src/protocol'
import { emptyPart } from '../src/song'
import { uniforms, HITS } from '../src/rng'

const GRID = { steps_per_beat: 1, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }

class Count {
  constructor(readonly rows: number, readonly position: number, readonly sum: number) {}
  select(): Count { return this }
}

/** Counts the hits that it hears, and the steps that it works. */
function counter() {
  let worked = 0
  const network = {
    width: 2, stepsPerBar: 4, grid: GRID, start: () => new Count(1, -1, 0),
    step: (x: Uint8Array, _: unknown, before: Count) => {
      worked++
      const sum = before.sum + (before.position < 0 ? 0 : x[0] + x[1])
      return { state: new Count(1, before.position + 1, sum), output: { dist: [], free: [], features: Float32Array.of(sum) } }
    },
  }
  return { placed: { network, expression: null, articulation: null } as unknown as Placed, worked: () => worked }
}

function someSong(bars: number, seed = 1): HeardSong {
  const hits = Uint8Array.from({ length: bars * 8 }, (_, cell) => (uniforms(seed, HITS, 0, cell, 1)[0] < 0.5 ? 1 : 0))
  return { ...emptyPart(bars * 8), hits, velocity: Float32Array.from(hits), tempo: 120, grid: GRID }
}

const cut = (song: HeardSong, bars: number): HeardSong => {
  const cells = bars * 8
  return { ...song, hits: song.hits.slice(0, cells), velocity: song.velocity.slice(0, cells), offset: song.offset.slice(0, cells), openness: song.openness.slice(0, cells) }
}
const counted = (moment: { heard: { state: unknown; last: Uint8Array } }) => (moment.heard.state as Count).sum + moment.heard.last.reduce((a, b) => a + b, 0)
const hitsOf = (song: HeardSong) => song.hits.reduce((sum, hit) => sum + hit, 0)
const go = async () => undefined

test('a song is heard once: any bar of it then costs nothing, and a change only what is after it', async () => {
  const { placed, worked } = counter()
  const hearing = new Hearing()
  const song = someSong(50)
  expect(counted(await hearing.hear(placed, song, false, go))).toBe(hitsOf(song))
  expect(worked()).toBe(200)
  for (const bars of [3, 49, 50, 0]) expect(counted(await hearing.hear(placed, cut(song, bars), false, go))).toBe(hitsOf(cut(song, bars)))
  expect(worked()).toBe(200)
  const changed = { ...song, hits: song.hits.slice(), velocity: song.velocity.slice() }
  changed.hits[48 * 8 + 3] ^= 1
  expect(counted(await hearing.hear(placed, changed, false, go))).toBe(hitsOf(changed))
  expect(worked()).toBe(208)
  const openly = { ...changed, openness: changed.openness.slice().fill(0.5, 392, 393) }
  await hearing.hear(placed, openly, false, go)
  expect(worked()).toBe(212)
  await hearing.hear(placed, { ...openly, tempo: 90 }, false, go)
  expect(worked()).toBe(412)
})

test('what was heard before it was stopped stays heard', async () => {
  const { placed, worked } = counter()
  const hearing = new Hearing()
  const song = someSong(20)
  let steps = 0
  const stop = async () => { if (++steps === 43) throw new Error('stopped') }
  await expect(hearing.hear(placed, song, false, stop)).rejects.toThrow('stopped')
  expect(worked()).toBe(43)
  expect(counted(await hearing.hear(placed, song, false, go))).toBe(hitsOf(song))
  expect(worked()).toBe(43 + 40)
})

test('what was played is heard', async () => {
  const { placed, worked } = counter()
  const hearing = new Hearing()
  const [song, made] = [someSong(5), someSong(2, 2)]
  const moment = await hearing.hear(placed, song, false, go)
  const whole = { ...song, ...Object.fromEntries((['hits', 'velocity', 'offset', 'openness'] as const).map((name) => [name, Float32Array.of(...song[name], ...made[name])])) } as unknown as HeardSong
  const after = { heard: { state: new Count(1, 27, hitsOf(song) + hitsOf(made)), last: new Uint8Array(2) }, played: null, articulated: null }
  hearing.goOn(song, made, [moment, after], new Array(8).fill(new Float32Array(1)), 8, false)
  expect(await hearing.hear(placed, { ...whole, hits: Uint8Array.from(whole.hits) }, false, go)).toBe(after)
  expect(worked()).toBe(20)
})
