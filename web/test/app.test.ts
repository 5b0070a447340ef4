import { expect, test, vi } from 'vitest'
import { App } from '../src/app'
import { resized } from '../src/bars'
import { DEFAULTS, MOST_SEED } from '../src/bounds'
import { WorkerEngine } from '../src/engine'
import type { Meta } from '../src/meta'
import { planOf } from '../src/plan'
import type { Answer, ContinueOptions, Engine, InfillOptions, Request } from '../src/protocol'
import * as songs from '../src/song'
import { Transport } from '../src/transport'

vi.stubGlobal('requestAnimationFrame', () => 0)
vi.stubGlobal('document', { hidden: false })

const VOICES = 2
const meta = {
  labels: { section: ['A', 'B'], style: ['rock'], fill: ['beat', 'fill'] }, kinds: ['section', 'style', 'fill'], numbers: ['tempo_bpm', 'density', 'offbeat'],
  num_drums: VOICES,
  grid: { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 },
} as unknown as Meta
const song = () => songs.emptySong(VOICES, meta.grid, 8)

/** The model's thread, as far as the page sees it. */
class FakeWorker {
  onmessage: (event: { data: Answer }) => void = () => undefined
  readonly sent: Request[] = []

  postMessage(request: Request): void {
    this.sent.push(request)
    if (request.kind === 'load') queueMicrotask(() => this.say({ id: request.id, kind: 'done' }))
  }

  say(answer: Answer): void {
    this.onmessage({ data: answer })
  }
}

const full = (bars: number): songs.Part => {
  const cells = bars * 16 * VOICES
  return { ...songs.emptyPart(cells), hits: new Uint8Array(cells).fill(1), velocity: new Float32Array(cells).fill(0.5) }
}

test('what comes after another song was opened is not written into it', async () => {
  const worker = new FakeWorker()
  const engine = new WorkerEngine(worker as unknown as Worker, '')
  await engine.ready
  for (const kind of ['continue', 'infill'] as const) {
    const app = new App(meta, song(), engine)
    app.select(0, 4)
    const done = kind === 'continue' ? app.continue(2) : app.fillIn()
    await vi.waitFor(() => expect(worker.sent.at(-1)!.kind).toBe(kind))
    const { id } = worker.sent.at(-1)!
    const other = { ...songs.emptySong(VOICES, meta.grid, 8), kept: songs.newPlace('other') }
    app.open(other, 'other')
    app.say('other.mid')
    worker.say(kind === 'continue' ? { id, kind: 'bar', bar: 0, part: full(1) } : { id, kind: 'filled', part: full(6), smallest: 9 })
    expect(await done).toBe(false) // though the thread has not said that it stopped
    expect(app.song).toBe(other)
    expect(app.message).toBe('other.mid')
    await engine.ready
    expect(worker.sent.filter((request) => request.kind !== 'hear').at(-1)).toEqual({ id, kind: 'cancel' })
  }
})

/** An engine whose infill ends when told. */
function slowEngine() {
  let end = () => undefined as void
  const asked: InfillOptions[] = []
  const continued: ContinueOptions[] = []
  const engine: Engine = {
    ready: Promise.resolve(),
    continue: async (options) => { continued.push(options) },
    infill: (options) => new Promise((resolve) => {
      asked.push(options)
      end = () => resolve({ part: full(options.known.length / 16 / VOICES), smallest: 9 })
    }),
  }
  return { engine, asked, continued, end: () => end() }
}

test('what is edited while bars are filled in stays', async () => {
  const { engine, asked, end } = slowEngine()
  const app = new App(meta, song(), engine)
  app.select(2, 4)
  app.set({ style: 1 })
  const done = app.fillIn()
  await vi.waitFor(() => expect(asked.length).toBe(1))
  app.edit(resized(app.song, 3))
  app.edit(songs.setAsks(app.song, 0, 3, { density: 0.25 }))
  const locked = 2 * 16 * VOICES
  app.edit(songs.setLocks(app.song, [locked], 1))
  end()
  expect(await done).toBe(true)
  expect(app.bars).toBe(3)
  expect(app.song.asks.map(({ style, density }) => [style, density])).toEqual([[0, 0.25], [0, 0.25], [1, 0.25]])
  const hits = [...app.song.hits]
  expect(hits.slice(0, locked + 1).every((hit) => hit === 0)).toBe(true)
  expect(hits.slice(locked + 1).every((hit) => hit === 1)).toBe(true)
})

test('bars that are gone when they are filled in stay gone', async () => {
  const { engine, asked, end } = slowEngine()
  const app = new App(meta, song(), engine)
  app.select(6, 8)
  const done = app.fillIn()
  await vi.waitFor(() => expect(asked.length).toBe(1))
  const cut = resized(app.song, 4)
  app.edit(cut)
  end()
  expect(await done).toBe(true)
  expect(app.song).toEqual(cut)
})

test('busier never asks for less', async () => {
  const { engine, asked, end } = slowEngine()
  const dense = songs.setHits(song(), Array.from({ length: 16 }, (_, i) => i), 1) // half of the first bar
  const app = new App(meta, dense, engine)
  app.select(0, 1)
  const done = app.busier(1)
  await vi.waitFor(() => expect(asked.length).toBe(1))
  end()
  await done
  expect(songs.ask(app.song, 0).density).toBe(0.5)
})

test('a variation is asked for what is measured, whatever is asked of its bars, without guidance; the seed and the rest are the defaults', async () => {
  const { engine, asked, end } = slowEngine()
  const app = new App(meta, songs.setAsks(song(), 2, 4, { style: 1, density: 0.3 }), engine)
  app.select(2, 4)
  for (const seed of [DEFAULTS.seed, DEFAULTS.seed + 1]) {
    const plan = planOf(meta, app.song)
    const before = asked.length
    const done = app.vary(1)
    await vi.waitFor(() => expect(asked.length).toBe(before + 1))
    end()
    await done
    expect(asked[before]).toMatchObject({ guidance: 0, seed, temperature: 1, topP: 1, particles: 64, asked: plan })
  }
})

test('guidance is what is set where something is wished, and else 0', async () => {
  const { engine, asked, end, continued } = slowEngine()
  for (const [style, guidance] of [[0, 0], [1, 1.5]]) {
    const app = new App(meta, song(), engine)
    app.set({ style, guidance: 1.5 })
    app.select(0, 4)
    const done = app.fillIn()
    await vi.waitFor(() => expect(app.busy).toBeTruthy())
    await vi.waitFor(() => expect(asked.length).toBe(style + 1))
    end()
    await done
    await app.continue(2)
    expect(asked.at(-1)!.guidance).toBe(guidance)
    expect(continued.at(-1)!.guidance).toBe(guidance)
  }
})

test('nothing is made anew in a song that was just opened, until bars are selected', async () => {
  const { engine, asked, end } = slowEngine()
  const app = new App(meta, song(), engine)
  for (const open of [() => undefined, () => app.open(song(), 'other')]) {
    open()
    for (const action of [() => app.fillIn(), () => app.fillBar(), () => app.vary(), () => app.busier(1)]) {
      expect(await action()).toBe(false)
      expect(app.message).toMatch(/^No bar is selected/)
    }
    app.select(0, 2)
  }
  expect(asked.length).toBe(0)
  app.select(6, 8)
  const done = app.fillIn()
  await vi.waitFor(() => expect(asked.length).toBe(1))
  end()
  await done
  app.edit(resized(app.song, 4)) // the selected bars are gone
  expect(app.hasSelection).toBe(false)
})

test('undo after endless play goes back bar by bar, also where the first bars were dropped', async () => {
  const engine: Engine = {
    ready: Promise.resolve(),
    continue: async ({ bars }, onBar) => { for (let bar = 0; bar < bars; bar++) onBar(bar, full(1)) },
    infill: () => Promise.reject(new Error('not asked')),
  }
  const app = new App(meta, songs.emptySong(VOICES, meta.grid, 254), engine)
  app.set({ endless: true })
  for (const bars of [256, 194]) { // two more, and two more after 64 were dropped
    await app.keepAhead(app.bars - 1)
    expect(app.bars).toBe(bars)
  }
  const seen = []
  while (app.history.canUndo) {
    app.undo()
    seen.push(app.bars)
  }
  expect(seen).toEqual([193, 256, 255, 254])
})

test('each use takes the next seed, from 0 on', async () => {
  const { engine, asked, end } = slowEngine()
  const app = new App(meta, song(), engine)
  app.select(0, 4)
  for (const seed of [0, 1, MOST_SEED, 0]) {
    if (seed === MOST_SEED) app.set({ seed })
    const before = asked.length
    const done = app.fillIn()
    await vi.waitFor(() => expect(asked.length).toBe(before + 1))
    end()
    await done
    expect(asked[before].seed).toBe(seed)
  }
})

test('the first of several takes is heard at once, the others can be chosen, and all are undone as one', async () => {
  const drawn: { seed: number; end: (part: songs.Part) => void }[] = []
  const engine: Engine = {
    ready: Promise.resolve(),
    continue: () => Promise.reject(new Error('not asked')),
    infill: ({ seed }) => new Promise((resolve) => drawn.push({ seed, end: (part) => resolve({ part, smallest: 9 }) })),
  }
  const app = new App(meta, song(), engine)
  const opened = app.song
  const partOf = (cell: number) => ({ ...songs.emptyPart(64), hits: Uint8Array.from({ length: 64 }, (_, i) => Number(i <= cell)), velocity: new Float32Array(64).fill(0.5) })
  const hits = () => app.song.hits.reduce((sum, hit) => sum + hit, 0)
  app.set({ takes: 2, seed: 5 })
  app.select(6, 8)
  const done = app.fillIn()
  for (let number = 0; number < 8; number++) {
    await vi.waitFor(() => expect(drawn.length).toBe(number + 1))
    drawn[number].end(partOf(number))
    if (number) expect(hits()).toBe(1)
    expect(app.offer).toBe(null)
  }
  expect(await done).toBe(true)
  expect(drawn.map(({ seed }) => seed)).toEqual([5, 6, 7, 8, 9, 10, 11, 12])
  expect(app.settings.seed).toBe(13)
  expect(app.offer!.takes.map(({ seed }) => seed)).toEqual([5, 12])
  app.choose(1)
  expect(hits()).toBe(8)
  app.choose(0)
  expect(hits()).toBe(1)
  app.undo()
  expect(app.song).toBe(opened)
  expect(app.offer).toBe(null)
  app.redo()
  expect(app.offer).not.toBe(null)
  app.settle()
  expect(app.offer).toBe(null)
})

test('a song that is written in before all takes are drawn keeps what is written, and offers none', async () => {
  const ends: (() => void)[] = []
  const engine: Engine = {
    ready: Promise.resolve(),
    continue: () => Promise.reject(new Error('not asked')),
    infill: () => new Promise((resolve) => ends.push(() => resolve({ part: full(2), smallest: 9 }))),
  }
  const app = new App(meta, song(), engine)
  app.set({ takes: 2 })
  app.select(6, 8)
  const done = app.fillIn()
  await vi.waitFor(() => expect(ends.length).toBe(1))
  ends[0]()
  await vi.waitFor(() => expect(ends.length).toBe(2))
  app.edit(songs.setHits(app.song, [0], 1))
  const { song: written } = app
  ends[1]()
  expect(await done).toBe(false)
  expect(app.song).toBe(written)
  expect(app.offer).toBe(null)
})

test('after a stall what is past is not struck', () => {
  vi.useFakeTimers()
  const context = { currentTime: 0 }
  const struck: number[] = []
  const mixer = { hit: (_voice: number, _velocity: number, time: number) => struck.push(time), silence: () => undefined }
  const transport = new Transport(context as AudioContext, mixer as never, {
    steps: () => 64, loop: () => null, secondsPerStep: () => 0.1, isGrowing: () => false,
    hitsAt: () => [{ voice: 0, velocity: 1, late: 0, openness: NaN }],
  }, () => undefined)
  transport.start(0)
  expect(struck.length).toBe(2)
  context.currentTime = 2
  vi.advanceTimersByTime(30)
  transport.stop()
  vi.useRealTimers()
  expect(struck.slice(2).map((time) => Math.round(time * 100))).toEqual([206, 216])
})
