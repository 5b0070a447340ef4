import { expect, test } from 'vitest'
import { removed, resized } from '../src/bars'
import { History } from '../src/history'
import { fromBytes, fromHash, ShareError, toBytes, toHash } from '../src/share'
import { plainMixer } from '../src/settings'
import * as songs from '../src/song'

/** The song of a link. */
async function songOf(...link: Parameters<typeof fromHash>): Promise<songs.Song> {
  return (await fromHash(...link))!.song
}

const GRID = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }
const OWN = { num_drums: 10, grid: GRID, serves_every_grid: false, labels: null }

function someSong(): songs.Song {
  let song = songs.emptySong(10, GRID, 3)
  song = songs.setHits(song, [0, 42, 100, 479], 1, 0.5)
  song.velocity[42] = 1
  song.offset[42] = 0.25
  song.offset[100] = -0.5
  song = songs.setLocks(song, [0, 1, 2], 1)
  song = songs.setVoiceLock(song, 9, true)
  song = songs.setAsks(song, 1, 2, { style: 6, section: 2, fill: 2, density: 0.2 })
  return { ...song, tempo: 93.5, swing: 0.2 }
}

test('a song comes back from its link', async () => {
  const song = someSong()
  const back = await songOf(await toHash(song), OWN, 256)
  expect(back.hits).toEqual(song.hits)
  expect(back.locked).toEqual(song.locked)
  expect(back.lockedVoices).toEqual(song.lockedVoices)
  expect(back.asks).toEqual(song.asks)
  expect([back.tempo, back.swing]).toEqual([93.5, 0.2])
  song.hits.forEach((_, cell) => {
    expect(Math.abs(back.velocity[cell] - song.velocity[cell])).toBeLessThanOrEqual(0.5 / 127 + 1e-6)
    expect(Math.abs(back.offset[cell] - song.offset[cell])).toBeLessThanOrEqual(0.5 / 64)
  })
})

test('links that are damaged, cut short or of another kit are refused', async () => {
  for (const text of ['song=!!', 'song=AAAA']) await expect(fromHash(text, OWN, 256)).rejects.toThrow(ShareError)
  const bytes = toBytes(someSong())
  for (const size of [0, 3, 20, bytes.length - 1]) expect(() => fromBytes(bytes.subarray(0, size), OWN, 256)).toThrow(ShareError)
  expect(() => fromBytes(bytes, { ...OWN, num_drums: 9 }, 256)).toThrow('another drum kit')
  expect(() => fromBytes(bytes, OWN, 2)).toThrow(ShareError)
})

test('a link of what the editor does not make is damaged', () => {
  const song = someSong()
  const bytes = toBytes(song)
  const at = 10 + 2 * (song.hits.length / 8) // of the first hit: its velocity, then its offset
  expect(bytes[at]).toBeGreaterThan(0)
  for (const [place, value] of [[at, 0], [at, 128], [at, 255], [at + 1, 64], [at + 1, 255]]) {
    const changed = bytes.slice()
    changed[place] = value
    expect(() => fromBytes(changed, OWN, 256)).toThrow('damaged')
  }
})

test('operations give new songs and leave the old as they were', () => {
  const song = someSong()
  const was = song.hits.slice()
  const cleared = songs.clear(song, 0, 3)
  expect(song.hits).toEqual(was)
  expect([...cleared.hits.keys()].filter((cell) => cleared.hits[cell])).toEqual([0, 479]) // locked: a cell, and a voice
  expect(songs.bars(resized(song, 5))).toBe(5)
  expect(resized(resized(song, 5), 3).hits).toEqual(was)
})

test('a part goes in place, and beyond the end the song grows', () => {
  const song = someSong()
  const part = { ...songs.emptyPart(320), hits: new Uint8Array(320).fill(1), velocity: new Float32Array(320).fill(0.7) }
  const grown = songs.replace(song, 32, part)
  expect(songs.bars(grown)).toBe(4)
  expect(grown.hits.subarray(0, 320)).toEqual(song.hits.subarray(0, 320))
  expect(grown.hits.subarray(320).every((hit) => hit === 1)).toBe(true)
  expect(grown.locked.length).toBe(640)
  expect(grown.asks.length).toBe(4)
  expect(songs.density(grown, 3)).toBe(1)
})

test('swing delays every second step by up to a third', () => {
  const song = { ...songs.setHits(songs.emptySong(1, GRID, 1), [0, 1], 1), swing: 1 }
  expect(songs.placed(song, 0)).toBe(0)
  expect(songs.placed(song, 1)).toBeCloseTo(1 / 3, 12)
})

test('undo and redo go through what was written, and a stroke is one change', () => {
  const history = new History('a')
  history.push('b')
  history.push('c', 'stroke')
  history.push('d', 'stroke')
  history.seal()
  history.push('e', 'stroke')
  const seen = []
  while (history.undo()) seen.push(history.value)
  expect(seen).toEqual(['d', 'b', 'a'])
  expect(history.redo() && history.value).toBe('b')
  history.push('f')
  expect(history.canRedo).toBe(false)
})

test('a history is taken up again, and a value amended without a step', () => {
  const history = new History('a')
  for (const value of ['b', 'c', 'd', 'e']) history.push(value)
  history.undo()
  history.amend('D')
  const states = history.states(2)
  expect(states).toEqual({ past: ['b', 'c'], now: 'D', future: ['e'] })
  const again = new History('')
  again.load(states)
  again.undo()
  again.undo()
  expect([again.value, again.undo()]).toEqual(['b', false])
  while (again.redo());
  expect(again.value).toBe('e')
  expect(states.past).toEqual(['b', 'c'])
})

test('only so many changes are kept', () => {
  const history = new History(0, 10)
  for (let i = 1; i <= 50; i++) history.push(i)
  while (history.undo());
  expect(history.value).toBe(40)
})

test('a link that asks what there is not is damaged', () => {
  const labels = { section: ['A', 'B'], style: ['rock'], fill: ['beat', 'fill'] }
  const bytes = toBytes(songs.setAsks(songs.emptySong(10, GRID, 1), 0, 1, { section: 2, style: 1, fill: 2, density: 1 }))
  expect(fromBytes(bytes, { ...OWN, labels }, 256).song.asks[0]).toEqual({ section: 2, style: 1, fill: 2, density: 1 })
  ;[3, 2, 77, 254].forEach((wrong, i) => {
    const changed = bytes.slice()
    changed[bytes.length - 4 + i] = wrong
    expect(() => fromBytes(changed, { ...OWN, labels }, 256)).toThrow('damaged')
  })
})

test('a link that inflates without end is damaged', async () => {
  const zeros = new Blob([new Uint8Array(20_000_000)]).stream().pipeThrough(new CompressionStream('deflate-raw'))
  const bytes = new Uint8Array(await new Response(zeros).arrayBuffer())
  const text = btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  await expect(fromHash(`song=${text}`, OWN, 256)).rejects.toThrow('damaged')
})

test('an anchor that is not of the page is left alone', async () => {
  for (const text of ['', 'section-2', '!!', 'AAAA', 'top', '/route/of/a/host', btoa('music')]) expect(await fromHash(text, OWN, 256)).toBeNull()
})

test('a link holds the mixer, and pages that know of none read the song of it', async () => {
  const mixer = { ...plainMixer(10), volumes: [1, 0, 1.25, 0.5, 1, 1, 1, 1, 1, 0.33], muted: Array.from({ length: 10 }, (_, v) => v === 0 || v === 9) }
  const other = songs.setStrokes(songs.setHits(someSong(), [0], 1), 0, 3)
  for (const song of [someSong(), other]) {
    const back = (await fromHash(await toHash(song, mixer), OWN, 256))!
    expect(back.mixer).toEqual(mixer)
    expect(back.song.hits).toEqual(song.hits)
    const plain = toBytes(song)
    expect(toBytes(song, mixer).subarray(0, plain.length)).toEqual(plain)
    expect(fromBytes(plain, OWN, 256).mixer).toEqual(plainMixer(10))
    expect(() => fromBytes(toBytes(song, mixer).slice(0, -1), OWN, 256)).toThrow(ShareError)
  }
})

test('a tempo is one that the page holds', () => {
  expect([1, 133.25, 999].map(songs.clampTempo)).toEqual([40, 133.25, 240])
})

test('links of pages before there were metres still open', async () => {
  const text = 'Y-QSYGBSaRNhYGBkYGBgYGEAAwEGnKCBCbccCnBQgEAGBob_TGxMRg4MAA'
  for (const own of [OWN, { ...OWN, serves_every_grid: true }]) {
    const song = await songOf(text, own, 256)
    expect([song.tempo, song.swing, song.shift, song.grid]).toEqual([93.5, 0.2, -0.25, GRID])
    expect([...song.hits.keys()].filter((cell) => song.hits[cell])).toEqual([0, 42, 100, 319])
    expect(song.asks[1]).toEqual({ section: 2, style: 6, fill: 2, density: 0.2 })
  }
})

test('a link holds the metre, and is refused by a model that does not play it', async () => {
  const grid = { steps_per_beat: 2, beats_per_bar: 7, bars_per_phrase: 4, beat_unit: 8 }
  const song = songs.setHits(songs.emptySong(10, grid, 3), [0, 5, 419], 1, 0.5)
  const text = await toHash(song)
  const back = await songOf(text, { ...OWN, serves_every_grid: true }, 256)
  expect([back.grid, back.stepsPerBar, songs.bars(back), back.hits]).toEqual([grid, 14, 3, song.hits])
  await expect(fromHash(text, OWN, 256)).rejects.toThrow('does not play')
  for (const [at, value] of [[2, 0], [2, 200], [4, 3]]) {
    const bytes = toBytes(song)
    bytes[at] = value
    expect(() => fromBytes(bytes, { ...OWN, serves_every_grid: true }, 256)).toThrow(ShareError)
  }
})

test('steps of triplets do not swing', () => {
  const grid = { ...GRID, steps_per_beat: 3 }
  const song = { ...songs.setHits(songs.emptySong(1, grid, 1), [1], 1), swing: 1 }
  expect(songs.placed(song, 1)).toBe(0)
  expect(songs.placed({ ...song, grid: GRID }, 1)).toBeCloseTo(1 / 3)
})

/** Cells 10 and 330 have further strokes, and the hi-hat of cell 10 is half open. */
function withStrokes(): songs.Song {
  let song = songs.setHits(songs.emptySong(10, GRID, 3), [0, 10, 330], 1, 0.5)
  for (const [cell, count] of [[0, 2], [10, 4], [330, 3]]) song = songs.setStrokes(song, cell, count)
  song.openness[10] = 0.5
  return song
}

test('strokes lead to their hit within its cell, and follow it where nothing is before', () => {
  const song = withStrokes()
  expect([0, 10, 330, 1].map((cell) => songs.strokesOf(song, cell))).toEqual([2, 4, 3, 0])
  expect(song.strokes.get(330)!.map(({ offset }) => offset)).toEqual([-0.4, -0.2].map(Math.fround))
  expect(song.strokes.get(0)![0].offset).toBeGreaterThan(0)
  for (const own of song.strokes.values()) for (const { offset } of own) expect(offset >= -0.5 && offset < 0.5).toBe(true)
  expect(songs.setStrokes(song, 10, 1).strokes.has(10)).toBe(false)
  expect(songs.setHits(song, [10], 0).strokes.has(10)).toBe(false)
  expect(songs.setVelocity(song, 330, 1).strokes.get(330)![0].velocity).toBeCloseTo(0.6, 5)
})

test('strokes go with their bars', () => {
  const song = withStrokes()
  expect([...removed(song, 0, 2).strokes.keys()]).toEqual([10])
  expect([...resized(song, 2).strokes.keys()].sort()).toEqual([0, 10])
  expect([...songs.part(song, 16).strokes.keys()]).toEqual([170])
  const put = songs.replace(song, 1, songs.part(song, 32))
  expect([...put.strokes.keys()].sort((a, b) => a - b)).toEqual([0, 20, 330])
  expect(songs.replace(song, 0, songs.part(songs.emptySong(10, GRID, 1), 0)).strokes.has(330)).toBe(true)
})

test('a link holds strokes and openness', async () => {
  const song = withStrokes()
  const back = await songOf(await toHash(song), OWN, 256)
  expect([...back.strokes.keys()]).toEqual([...song.strokes.keys()])
  back.strokes.forEach((own, cell) => own.forEach(({ offset, velocity }, i) => {
    expect(Math.abs(offset - song.strokes.get(cell)![i].offset)).toBeLessThanOrEqual(0.5 / 64)
    expect(Math.abs(velocity - song.strokes.get(cell)![i].velocity)).toBeLessThanOrEqual(0.5 / 127 + 1e-6)
  }))
  expect(back.openness[10]).toBeCloseTo(0.5, 2)
  expect(back.openness[0]).toBeNaN()
  const bytes = toBytes(song)
  for (const size of [bytes.length - 1, bytes.length - 10]) expect(() => fromBytes(bytes.subarray(0, size), OWN, 256)).toThrow(ShareError)
})
