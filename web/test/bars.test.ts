import { expect, test } from 'vitest'
import { emptyClip, inserted, misfit, moved, overwritten, removed, resized, taken } from '../src/bars'
import { fromBytes, fromHash, ShareError, toBytes, toHash } from '../src/share'
import { areValid, inOrder, withoutPattern, withPattern } from '../src/patterns'
import { barsPlayed, falls, performed, strokesAt } from '../src/performing'
import { plainMixer } from '../src/settings'
import * as songs from '../src/song'

const GRID = { steps_per_beat: 2, beats_per_bar: 2, bars_per_phrase: 4, beat_unit: 4 }
const OWN = { num_drums: 2, grid: GRID, serves_every_grid: true, labels: null }
const SIZE = 8

/** Bar n has a hit with velocity n / 10, a grace note, a chance, a lock and a density. */
function numbered(bars = 5): songs.Song {
  let song = songs.emptySong(2, GRID, bars)
  for (let bar = 0; bar < bars; bar++) {
    const cell = bar * SIZE + 2
    song = songs.setHits(song, [cell], 1, (bar + 1) / 10)
    song = songs.setChance(songs.setStrokes(song, cell, 2), cell, (bar + 1) / 10)
    song = songs.setLocks(song, [cell + 1], 1)
    song = songs.setAsks(song, bar, bar + 1, { density: (bar + 1) / 10 })
  }
  return song
}

/** The numbers of the bars, where all that is written in each agrees. */
function order(song: songs.Song): number[] {
  return Array.from({ length: songs.bars(song) }, (_, bar) => {
    const cell = bar * SIZE + 2
    const number = Math.round(song.velocity[cell] * 10)
    expect(song.hits[cell]).toBe(number ? 1 : 0)
    expect(song.strokes.has(cell)).toBe(number > 0)
    expect(song.chances.get(cell) ?? 0).toBeCloseTo(number / 10)
    expect(song.locked[cell + 1]).toBe(number ? 1 : 0)
    expect(song.asks[bar].density ?? 0).toBeCloseTo(number / 10)
    return number
  })
}

test('bars are inserted, removed, overwritten and moved with all that is in them', () => {
  const song = numbered()
  const clip = taken(song, 1, 3)
  expect(order(inserted(song, 4, clip))).toEqual([1, 2, 3, 4, 2, 3, 5])
  expect(order(inserted(song, 0, emptyClip(song, 1)))).toEqual([0, 1, 2, 3, 4, 5])
  expect(order(removed(song, 1, 3))).toEqual([1, 4, 5])
  expect(order(overwritten(song, 0, clip))).toEqual([2, 3, 3, 4, 5])
  expect(order(overwritten(song, 4, clip))).toEqual([1, 2, 3, 4, 2, 3]) // the song grows
  expect(order(moved(song, 1, 3, 1))).toEqual([1, 4, 2, 3, 5])
  expect(order(moved(song, 1, 3, -1))).toEqual([2, 3, 1, 4, 5])
  expect(moved(song, 0, 2, -1)).toBe(song)
  expect(order(resized(song, 2))).toEqual([1, 2])
  expect(order(song)).toEqual([1, 2, 3, 4, 5])
})

test('bars of another metre, and too many, are told', () => {
  const clip = taken(songs.emptySong(2, { ...GRID, beats_per_bar: 3 }, 2), 0, 1)
  expect(misfit(numbered(), clip, 1)).toBe('The copied bars are in 3/4, 2 steps a beat, and this song is in 2/4, 2 steps a beat: bars go only into songs of their metre')
  expect(misfit(numbered(), taken(numbered(), 0, 2), 2)).toBeNull()
  expect(misfit(songs.emptySong(2, GRID, 255), taken(numbered(), 0, 2), 2)).toMatch(/at most 256 bars/)
})

test('patterns go along with their bars', () => {
  let song = withPattern(withPattern(withPattern(numbered(6), 0, 2), 2, 4), 1, 5)
  expect(withPattern(song, 2, 4)).toBe(song)
  const ranges = (of: songs.Song) => of.patterns.map(({ name, first, last }) => `${name} ${first}-${last}`)
  expect(ranges(song)).toEqual(['A 0-2', 'B 2-4', 'C 1-5'])
  expect(ranges(inserted(song, 2, emptyClip(song, 1)))).toEqual(['A 0-2', 'B 3-5', 'C 1-6'])
  expect(ranges(removed(song, 3, 6))).toEqual(['A 0-2', 'B 2-3', 'C 1-3'])
  expect(ranges(moved(song, 2, 4, -2))).toEqual(['A 2-4', 'B 0-2', 'C 1-5'])
  song = { ...song, order: [0, 1, 2, 0] }
  const gone = removed(song, 0, 2)
  expect([ranges(gone), gone.order]).toEqual([['B 0-2', 'C 0-3'], [0, 1]])
  expect(withoutPattern(song, 1).order).toEqual([0, 1, 0])
})

test('what is played is in order, without silent voices, and with the hits that fall', () => {
  let song = withPattern(withPattern(numbered(3), 0, 1), 2, 3)
  song = { ...song, chances: new Map(), order: [1, 1, 0] }
  expect(barsPlayed(song, { ordered: false, endless: false })).toEqual([0, 1, 2])
  expect(barsPlayed(song, { ordered: true, endless: true })).toEqual([0, 1, 2])
  const bars = barsPlayed(song, { ordered: true, endless: false })
  expect(bars).toEqual([2, 2, 0])
  const played = performed(song, plainMixer(2), bars)
  expect(Array.from({ length: 3 }, (_, bar) => Math.round(played.velocity[bar * SIZE + 2] * 10))).toEqual([3, 3, 1])
  expect(played.strokes.size).toBe(3)
  expect(performed(song, { ...plainMixer(2), muted: [true, false] }, bars).hits).not.toContain(1)
  expect(performed(song, { ...plainMixer(2), soloed: [false, true] }, bars).hits).not.toContain(1)
  expect(performed(song, { ...plainMixer(2), soloed: [true, false] }, bars).hits).toEqual(played.hits)
  expect(inOrder({ patterns: [{ name: 'A', first: 0, last: 3 }], order: new Array(90).fill(0) })).toBeNull() // too many bars
})

test('chances fall as often as they say, by the roll, the place and the round, and the same each time', () => {
  const cell = 2
  const song = songs.setChance(songs.setHits(songs.emptySong(2, GRID, 1), [cell], 1), cell, 0.3)
  const places = Array.from({ length: 4000 }, (_, place) => place)
  const drawn = (of: songs.Song, pass: number) => places.map((place) => falls(of, cell, place, pass))
  const first = drawn(song, 0)
  const share = first.filter(Boolean).length / places.length
  expect(Math.abs(share - 0.3)).toBeLessThan(4 * Math.sqrt((0.3 * 0.7) / places.length)) // four standard deviations
  expect(drawn(song, 0)).toEqual(first)
  expect(drawn(song, 1)).not.toEqual(first)
  expect(drawn({ ...song, roll: 1 }, 0)).not.toEqual(first)
  const bars = places.slice(0, 200).map(() => 0)
  const played = performed(song, plainMixer(2), bars)
  expect(bars.map((_, bar) => played.hits[bar * SIZE + cell] > 0)).toEqual(bars.map((_, bar) => first[bar * 4 + 1]))
  expect(falls(songs.setChance(song, cell, 1), cell, 0, 0)).toBe(true)
})

test('a hit is moved with its grace notes, within its cell, and not before the beginning', () => {
  const song = songs.setStrokes(songs.setHits(songs.emptySong(2, GRID, 2), [0, 6], 1), 6, 2)
  expect(songs.setOffset(song, 6, 0.25).offset[6]).toBeCloseTo(0.25)
  expect(songs.setOffset(song, 6, 0.25).strokes.get(6)![0].offset).toBeCloseTo(0.05)
  const early = songs.setOffset(song, 6, -2)
  expect(early.strokes.get(6)![0].offset).toBeCloseTo(-0.5)
  expect(early.offset[6]).toBeCloseTo(-0.3)
  expect(songs.setOffset(song, 6, 2).offset[6]).toBeCloseTo(0.499)
  expect(songs.setOffset(song, 0, -1).offset[0]).toBe(0)
  expect(songs.setOffset(song, 1, 0.2)).toBe(song) // no hit
  expect(strokesAt(songs.setOffset(song, 6, 0.25), 3).map(({ late }) => late)).toEqual([0.25, expect.closeTo(0.05)])
})

test('links hold chances, patterns, solo, pan and kit, and pages that know none of them read the rest', async () => {
  const song = { ...withPattern(withPattern(numbered(), 0, 2), 3, 5), order: [0, 0, 1], roll: 513 }
  const renamed = { ...song, patterns: song.patterns.with(1, { ...song.patterns[1], name: 'Réfrain' }) }
  const mixer = { ...plainMixer(2), soloed: [false, true], pans: [null, -0.5], kit: 'deep' as const }
  const back = (await fromHash(await toHash(renamed, mixer), OWN, 256))!
  expect(back.mixer).toEqual(mixer)
  expect([back.song.patterns, back.song.order, back.song.roll]).toEqual([renamed.patterns, [0, 0, 1], 513])
  expect(back.song.chances.size).toBe(5)
  for (const [cell, chance] of back.song.chances) expect(chance).toBeCloseTo(song.chances.get(cell)!)
  const bytes = toBytes(renamed, mixer)
  const plain = toBytes({ ...renamed, chances: new Map(), patterns: [], order: [] })
  expect(bytes.subarray(0, plain.length)).toEqual(plain)
  for (let size = bytes.length - 1; size > plain.length + 4; size--) {
    try {
      expect(fromBytes(bytes.slice(0, size), OWN, 256).mixer.kit).toBe('') // cut between two parts
    } catch (error) {
      expect(error).toBeInstanceOf(ShareError)
    }
  }
  const unknown = Uint8Array.from([...bytes, 99, 0, 0, 2, 7, 7])
  expect(fromBytes(unknown, OWN, 256).mixer).toEqual(mixer)
})

test('a link whose chances or patterns have no bars is damaged', () => {
  const song = withPattern(numbered(), 0, 2)
  const damages: songs.Song[] = [
    { ...song, chances: new Map([[3, 0.5]]) }, { ...song, chances: new Map([[2, 0]]) },
    { ...song, patterns: [{ name: 'A', first: 2, last: 2 }] }, { ...song, patterns: [{ name: 'A', first: 0, last: 6 }] }, { ...song, order: [1] },
  ]
  for (const damaged of damages) expect(() => fromBytes(toBytes(damaged), OWN, 256)).toThrow(ShareError)
  expect(areValid(song, 5)).toBe(true)
})

test('a song that an earlier page kept has what songs have since', () => {
  const { chances: _chances, roll: _roll, patterns: _patterns, order: _order, ...kept } = numbered()
  const song = songs.completed(kept as songs.Song)
  expect([song.chances, song.roll, song.patterns, song.order]).toEqual([new Map(), 0, [], []])
  expect([song.hits, song.tempo, song.asks]).toEqual([kept.hits, kept.tempo, kept.asks])
})
