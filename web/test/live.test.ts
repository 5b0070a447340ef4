import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FakeMidi, type FakeOutput } from './fake_midi.mjs'
import { FollowedTransport } from '../src/live/followed'
import { MidiOut, type OutputPort, type Sending } from '../src/live/output'
import { lackOfMidi, Ports } from '../src/live/ports'
import { placeOf, Recorder, type Recording, withTap } from '../src/live/recording'
import { TapTempo } from '../src/live/tapping'
import { PAGE_CLOCK, SoundTime } from '../src/live/time'
import * as songs from '../src/song'
import { type Instrument, type Score, Transport } from '../src/transport'

const GRID = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }
const [ON, OFF] = [0x99, 0x89]

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] })
  vi.stubGlobal('document', { hidden: false })
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

async function plugged(options = {}) {
  const midi = new FakeMidi(options)
  const [input, output] = [midi.plug('input', 'Pads'), midi.plug('output', 'Synth')]
  await Promise.all([input.open(), output.open()])
  return { midi, input, output }
}

function asked(change: Partial<Sending> = {}): Sending {
  return { channel: 10, pitches: [36, 38, 42], sendsClock: false, grid: GRID, isSilent: () => false, toPage: (seconds) => seconds * 1000, ...change }
}

/** Every step the hat, every beat the kick, by default on the line. */
function score(change: Partial<Score> = {}, late: (step: number) => number = () => 0): Score {
  const hit = (voice: number, step: number) => ({ voice, velocity: 0.5, late: late(step), openness: NaN })
  return {
    steps: () => 64, loop: () => [0, 64], secondsPerStep: () => 0.125, isGrowing: () => false,
    hitsAt: (step) => [...(step % 4 ? [] : [hit(0, step)]), hit(2, step)], ...change,
  }
}

const playing = (out: Instrument, own = score()) => new Transport(PAGE_CLOCK, out, own, () => undefined)
const notes = (port: FakeOutput, status = ON) => port.sent.filter(({ data }) => data[0] === status)

/** Pitches that sound once all was sent. */
function sounding(port: FakeOutput): number[] {
  const on = new Set<number>()
  for (const { data: [status, pitch] } of port.sent) {
    if (status === ON) on.add(pitch)
    if (status === OFF) on.delete(pitch)
  }
  return [...on]
}

// -------------------------------------------------------------------- the fake

test('the fake sends at timestamps of the page, past ones at once, equal ones in their order', async () => {
  const { output } = await plugged()
  await vi.advanceTimersByTimeAsync(1000)
  const now = performance.now()
  output.send([ON, 36, 1], now + 50)
  output.send([ON, 38, 2], now + 20)
  output.send([ON, 42, 3], now + 20)
  output.send([ON, 44, 4], now - 500)
  output.send([ON, 46, 5])
  expect(output.sent.map(({ data }) => data[1])).toEqual([44, 46])
  await vi.advanceTimersByTimeAsync(60)
  expect(output.sent.map(({ data, at }) => [data[1], at - now])).toEqual([[44, 0], [46, 0], [38, 20], [42, 20], [36, 50]])
  output.send([ON, 36, 1], performance.now() + 50)
  output.clear!()
  await vi.advanceTimersByTimeAsync(100)
  expect(output.sent).toHaveLength(5)
  for (const bytes of [[36, 1], [ON, 36], [ON, 36, 200], []].slice(0, 3)) expect(() => output.send(bytes)).toThrow(TypeError)
  expect(() => output.send([0xf0, 1, 0xf7])).toThrow(/exclusive/)
})

test('the fake opens, closes and loses ports as the specification says', async () => {
  const { midi, input } = await plugged()
  const access = await (async () => { const asking = midi.request(); await vi.advanceTimersByTimeAsync(2); return asking })()
  const told: string[] = []
  access.onstatechange = ({ port }) => told.push(`${port.name} ${port.state} ${port.connection}`)
  midi.unplug(input)
  expect(() => access.outputs.get('output Synth')!.send([ON, 36, 1])).not.toThrow()
  midi.plug('input', 'Pads')
  await input.close()
  await input.open()
  midi.unplug(input)
  await input.close()
  await input.open()
  midi.taken.add('Pads')
  midi.plug('input', 'Pads')
  await expect(input.open()).rejects.toThrow(/in use/)
  expect(told).toEqual([
    'Pads disconnected pending', 'Pads connected open', 'Pads connected closed', 'Pads connected open', 'Pads disconnected pending',
    'Pads disconnected closed', 'Pads disconnected pending', 'Pads connected closed',
  ])
  const heard: number[] = []
  input.onmidimessage = () => heard.push(1)
  input.arrive([ON, 36, 1], 0)
  expect(heard).toEqual([]) // it is not open
})

// -------------------------------------------------------------------- out

test.each([0.4, -0.4, 0])('notes go out at their times, ahead, and each ends before its pitch begins anew (late by %d)', async (late) => {
  const { output } = await plugged()
  const out = new MidiOut(asked(), () => undefined)
  out.use(output)
  const transport = playing(out, score({}, (step) => (step % 2 ? late : -late)))
  transport.start(0)
  await vi.advanceTimersByTimeAsync(2100 - performance.now())
  transport.stop()
  await vi.advanceTimersByTimeAsync(500)
  const hats = notes(output).filter(({ data }) => data[1] === 42)
  expect(hats.length).toBeGreaterThan(15)
  hats.slice(2).forEach(({ at, ahead }, number) => {
    const step = number + 2
    expect(at).toBeCloseTo(60 + (step + (step % 2 ? late : -late)) * 125, 6)
    expect(ahead).toBeGreaterThan(20)
  })
  expect(hats[0].at).toBeCloseTo(60 - late * 125, 6)
  const ofHat = output.sent.filter(({ data, at }) => data[1] === 42 && data[0] !== 0xb9 && at < 2100).map(({ data }) => data[0])
  expect(ofHat).toEqual(ofHat.map((_, place) => (place % 2 ? OFF : ON)))
  expect(output.sent.map(({ at }) => at)).toEqual(output.sent.map(({ at }) => at).toSorted((a, b) => a - b))
  expect(sounding(output)).toEqual([])
})

test.each([true, false])('a stop ends all notes at once, and nothing sounds after it (clear: %s)', async (canClear) => {
  for (let stop = 1000; stop < 1130; stop += 7) { // at any place of a step
    const { output } = await plugged({ canClear })
    const out = new MidiOut(asked({ sendsClock: true }), () => undefined)
    out.use(output)
    const transport = playing(out, score({}, (step) => (step % 3) * 0.2 - 0.2))
    transport.start(0)
    await vi.advanceTimersByTimeAsync(stop)
    const now = performance.now()
    transport.stop()
    await vi.advanceTimersByTimeAsync(1000)
    expect(sounding(output)).toEqual([])
    expect(output.sent.some(({ data }) => data[0] === 0xb9 && data[1] === 123)).toBe(true)
    const after = notes(output).filter(({ at }) => at > now + 0.01)
    if (canClear) expect(after).toEqual([])
    else for (const { at } of after) expect(at - now).toBeLessThan(61) // what cannot be taken back
    const stopped = output.sent.find(({ data }) => data[0] === 0xfc)!
    expect(stopped.at).toBe(now)
  }
})

test('the clock has 24 ticks a quarter, from start to stop, at the times of the steps', async () => {
  for (const [steps_per_beat, length] of [[4, 0.125], [3, 1 / 6], [6, 1 / 12]]) {
    const { output } = await plugged()
    const out = new MidiOut(asked({ sendsClock: true, grid: { ...GRID, steps_per_beat } }), () => undefined)
    out.use(output)
    const began = performance.now()
    const transport = playing(out, score({ secondsPerStep: () => length }))
    transport.start(0)
    await vi.advanceTimersByTimeAsync(3000)
    transport.stop()
    const times = (status: number) => output.sent.filter(({ data }) => data[0] === status).map(({ at }) => at - began)
    expect(times(0xfa)).toHaveLength(1)
    expect(times(0xfa)[0]).toBeCloseTo(59, 6)
    const ticks = times(0xf8)
    expect(ticks.length).toBeGreaterThan(138)
    ticks.forEach((at, number) => expect(at).toBeCloseTo(60 + (number * 500) / 24, 5))
    expect(times(0xfc)).toHaveLength(1)
    out.use(null)
  }
})

test('from another bar it tells its place and continues, and a loop tells its place without a gap', async () => {
  const { output } = await plugged()
  const out = new MidiOut(asked({ sendsClock: true }), () => undefined)
  out.use(output)
  const began = performance.now()
  const transport = playing(out, score({ loop: () => [16, 32] }))
  transport.start(16)
  await vi.advanceTimersByTimeAsync(2600)
  transport.stop()
  const told = output.sent.filter(({ data }) => data[0] > 0xf0 && data[0] !== 0xf8).map(({ data, at }) => [...data, Math.round(at - began)])
  expect(told).toEqual([[0xf2, 16, 0, 59], [0xfb, 59], [0xf2, 16, 0, 2059], [0xfc, 2600]])
  const ticks = output.sent.filter(({ data }) => data[0] === 0xf8)
  ticks.slice(1).forEach(({ at }, number) => expect(at - ticks[number].at).toBeCloseTo(500 / 24, 5))
})

test('the pedal of the hi-hat comes before the note that it is of', async () => {
  const { output } = await plugged()
  const out = new MidiOut(asked(), () => undefined)
  out.use(output)
  output.sent.length = 0
  out.step(0, 0.1, 0.125)
  out.hit(2, 1, 0.1, 0.25)
  out.hit(2, 0.1, 0.15, 0.25)
  out.settle(0.2)
  await vi.advanceTimersByTimeAsync(300)
  expect(output.sent.slice(0, 3).map(({ data }) => data)).toEqual([[0xb9, 4, 95], [ON, 42, 127], [OFF, 42, 0]])
  expect(output.sent.filter(({ data }) => data[0] === 0xb9)).toHaveLength(1)
})

test('another channel ends what sounds on the one before; a muted voice is silent; another port gets nothing of the last', async () => {
  const { midi, output } = await plugged()
  const change = { channel: 10, isSilent: (voice: number) => voice === 2 }
  const out = new MidiOut(asked(change), () => undefined)
  const own = asked(change)
  Object.assign(own, change)
  const sent = new MidiOut(own, () => undefined)
  out.use(null)
  sent.use(output)
  sent.step(0, 0, 0.5)
  sent.hit(0, 1, 0, NaN)
  sent.hit(2, 1, 0, NaN)
  sent.settle(0)
  own.channel = 3
  sent.settle(0.01)
  sent.hit(1, 1, 0.02, NaN)
  sent.settle(0.03)
  await vi.advanceTimersByTimeAsync(100)
  expect(output.sent.map(({ data }) => data[0])).toEqual([0xb9, ON, OFF, 0xb9, 0x92])
  const other = midi.plug('output', 'Other')
  sent.use(other as OutputPort)
  await vi.advanceTimersByTimeAsync(100)
  expect(other.sent.map(({ data }) => data)).toEqual([[0xb2, 123, 0]])
  expect(output.sent.at(-1)!.data).toEqual([0xb2, 123, 0])
})

test('a port that fails is let go of, and says so once', async () => {
  const { midi, output } = await plugged()
  const trouble = vi.fn()
  const out = new MidiOut(asked(), trouble)
  out.use(output)
  midi.unplug(output)
  const transport = playing(out)
  transport.start(0)
  await vi.advanceTimersByTimeAsync(500)
  transport.stop()
  expect(trouble).toHaveBeenCalledTimes(1)
  expect(out.isThere).toBe(false)
})

test('a nudge moves what is to come, its notes and its clock', async () => {
  const { output } = await plugged()
  const out = new MidiOut(asked({ sendsClock: true }), () => undefined)
  out.use(output)
  const transport = playing(out)
  transport.start(0)
  await vi.advanceTimersByTimeAsync(1000)
  transport.nudge(0.01)
  await vi.advanceTimersByTimeAsync(1000)
  transport.nudge(-0.02)
  await vi.advanceTimersByTimeAsync(1000)
  transport.stop()
  const kicks = notes(output).filter(({ data }) => data[1] === 36).map(({ at }) => Math.round(at - 60))
  expect(kicks).toEqual([0, 500, 1000, 1510, 2010, 2490])
  const ticks = output.sent.filter(({ data }) => data[0] === 0xf8).map(({ at }) => at)
  expect(Math.round(ticks.at(-1)! - ticks[0])).toBe(Math.round(((ticks.length - 1) * 500) / 24 - 10))
})

// -------------------------------------------------------------------- by a clock

/** What follows a clock, and when it plays which voice. */
function following(own = score(), lateMs = 0) {
  const played: [number, number][] = []
  const silenced: number[] = []
  const instrument: Instrument = { hit: (voice, _, at) => played.push([voice, at * 1000]), silence: () => silenced.push(performance.now()) }
  const time = new SoundTime(PAGE_CLOCK)
  const transport = new FollowedTransport(100, 4, own, instrument, () => time, () => lateMs, () => undefined)
  const kicks = () => played.filter(([voice]) => voice === 0).map(([, at]) => Math.round(at))
  return { transport, played, kicks, silenced }
}

/** Messages told at their times. */
function tell(transport: FollowedTransport, messages: [number, number[]][]) {
  for (const [at, data] of messages) setTimeout(() => transport.receive(Uint8Array.from(data), at), at - performance.now())
}
const ticks = (count: number, from: number, tempo = 120): [number, number[]][] => Array.from({ length: count }, (_, i) => [from + (i * 60_000) / tempo / 24, [0xf8]])

test('it plays with the clock, ahead of its time, and stops when the clock does', async () => {
  const { transport, played, kicks } = following()
  tell(transport, [[0, [0xfa]], ...ticks(96, 10)])
  await vi.advanceTimersByTimeAsync(4000)
  expect(kicks()).toEqual([10, 510, 1010, 1510, 2010]) // the last is less than a tick and a half after the last tick
  expect(played.filter(([voice]) => voice === 2)).toHaveLength(17)
  expect(transport.isLost).toBe(true)
  expect(transport.isPlaying).toBe(true)
  tell(transport, ticks(24, 5000)) // it is back
  await vi.advanceTimersByTimeAsync(2000)
  expect(kicks().slice(5)).toEqual([5500]) // where it was left, a beat later
  transport.close()
})

test('stop, continue, start and song position lead where they say', async () => {
  const { transport, kicks, silenced } = following()
  tell(transport, [
    [0, [0xfa]], ...ticks(60, 10), [1255, [0xfc]], // in the third beat
    ...ticks(10, 1300), [1600, [0xfb]], ...ticks(40, 1610), // goes on with its rest
    [2430, [0xfc]], [2440, [0xf2, 32, 0]], [2450, [0xfb]], ...ticks(30, 2460), // bar 3
    [3080, [0xfa]], ...ticks(30, 3085), // from the beginning
  ])
  await vi.advanceTimersByTimeAsync(4500)
  expect(kicks()).toEqual([10, 510, 1010, 1860, 2360, 2460, 2960, 3085, 3585])
  expect(silenced.length).toBeGreaterThan(1)
  transport.close()
})

test('hits ahead of the beat are neither lost nor doubled where the master loops', async () => {
  const { transport, played } = following(score({ loop: () => [0, 64] }, () => -0.3))
  const loop: [number, number[]][] = [0, 1, 2, 3].flatMap((pass) => [[pass * 2000 + 5, [0xf2, 16, 0]], ...ticks(96, 10 + pass * 2000)] as [number, number[]][])
  tell(transport, [[0, [0xf2, 16, 0]], [1, [0xfb]], ...loop])
  await vi.advanceTimersByTimeAsync(9000)
  const hats = played.filter(([voice]) => voice === 2).map(([, at]) => Math.round(at - 10 + 0.3 * 125))
  expect(hats.length).toBe(65) // with what is ahead of the next beat
  hats.slice(1).forEach((at, number) => expect(Math.abs(at - (number + 1) * 125)).toBeLessThan(3))
  transport.close()
})

test('a stop by hand waits for the next start, and play joins in where the clock is', async () => {
  const { transport, kicks } = following()
  tell(transport, [[0, [0xfa]], ...ticks(240, 10)])
  setTimeout(() => transport.stop(), 700)
  setTimeout(() => transport.start(), 1900)
  await vi.advanceTimersByTimeAsync(2600)
  expect(kicks()).toEqual([10, 510, 2010, 2510])
  expect(transport.now()).toBe(20)
  expect(transport.near(2.3)).toContainEqual({ step: 18, late: expect.closeTo(0.32, 5) })
  transport.close()
})

test('late against the clock is late by as much', async () => {
  const { transport, kicks } = following(score(), 30)
  tell(transport, [[0, [0xfa]], ...ticks(72, 10)])
  await vi.advanceTimersByTimeAsync(2000)
  expect(kicks()).toEqual([40, 540, 1040, 1540])
  transport.close()
})

// -------------------------------------------------------------------- in

const song = (change = {}) => ({ ...songs.emptySong(3, GRID, 2), ...change })

test('a tap counts for the step that it is nearest to as that is played', () => {
  const near = [{ step: 3, late: 0.7 }, { step: 4, late: -0.3 }]
  expect(placeOf(song(), near)).toEqual({ step: 4, late: -0.3 })
  expect(placeOf(song(), [{ step: 4, late: 0.6 }, { step: 5, late: -0.4 }])!.step).toBe(5)
  const swung = placeOf(song({ swing: 1 }), [{ step: 4, late: 0.6 }, { step: 5, late: -0.4 }])! // 5 is a third late
  expect(swung.step).toBe(4)
  expect(swung.late).toBe(0.499)
  expect(placeOf(song(), [])).toBe(null)
  expect(placeOf(song(), [{ step: 32, late: 0 }])).toBe(null)
})

test('a tap is a hit with its loudness and timing; another just after it stands beside it, the loudest is the hit', () => {
  const soft = withTap(song(), 7, { voice: 1, velocity: 0.25, openness: NaN }, -0.25, false)
  expect([soft.hits[7], soft.velocity[7], soft.offset[7], soft.strokes.size]).toEqual([1, 0.25, -0.25, 0])
  const flam = withTap(soft, 7, { voice: 1, velocity: 1, openness: NaN }, 0, true)
  expect([flam.velocity[7], flam.offset[7]]).toEqual([1, 0])
  expect(flam.strokes.get(7)).toEqual([{ offset: -0.25, velocity: 0.25, openness: NaN }])
  const anew = withTap(flam, 7, { voice: 1, velocity: 0.5, openness: NaN }, 0.125, false)
  expect([anew.velocity[7], anew.strokes.size]).toEqual([0.5, 0])
})

function recording(first: songs.Song, change: Partial<Recording> = {}) {
  const edits: (string | null)[] = []
  const app = {
    song: first, history: { seal: () => undefined },
    edit(next: songs.Song, merge: string | null) { app.song = next; edits.push(merge) },
  }
  const own = { isQuantised: false, isOverdub: true, delayMs: 0, near: (at: number) => [{ step: Math.floor(at / 125), late: (at / 125) % 1 }], ...change }
  return { app, edits, recorder: new Recorder(app as never, own) }
}

test('a take is undone as one; overdub keeps what is there, and on the grid hits have no timing', () => {
  const { app, edits, recorder } = recording(songs.setHits(song(), [0, 1, 4], 1))
  expect(recorder.tap({ voice: 2, velocity: 0.5, openness: NaN }, 100)).toBe(false)
  recorder.start()
  recorder.step(1, 0, 0.125)
  recorder.tap({ voice: 2, velocity: 0.5, openness: NaN }, 145)
  expect([...app.song.hits.slice(0, 6)]).toEqual([1, 1, 0, 0, 1, 1])
  expect(app.song.offset[5]).toBeCloseTo(0.16)
  expect(new Set(edits)).toEqual(new Set(['record 1']))
  recorder.stop()
  const grid = recording(song(), { isQuantised: true, delayMs: 20 })
  grid.recorder.start()
  grid.recorder.step(0, 0, 0.125)
  grid.recorder.tap({ voice: 0, velocity: 0.5, openness: 0.5 }, 60)
  grid.recorder.tap({ voice: 0, velocity: 0.25, openness: 0.5 }, 70) // softer, just after it
  expect([grid.app.song.velocity[0], grid.app.song.offset[0], grid.app.song.openness[0], grid.app.song.strokes.size]).toEqual([0.5, 0, 0.5, 0])
})

test('without overdub what is there goes as it is passed for the first time, but for locks and what was just played', () => {
  const locked = songs.setLocks(songs.setHits(song(), [0, 1, 3, 4], 1), [1], 1)
  const { app, recorder } = recording(locked, { isOverdub: false })
  recorder.start()
  recorder.tap({ voice: 1, velocity: 1, openness: NaN }, 130) // ahead of its step
  recorder.step(0, 0, 0.125)
  recorder.step(1, 0, 0.125)
  expect([...app.song.hits.slice(0, 6)]).toEqual([0, 1, 0, 0, 1, 0])
  recorder.tap({ voice: 0, velocity: 1, openness: NaN }, 10)
  recorder.step(0, 0, 0.125) // again
  expect(app.song.hits[0]).toBe(1)
})

test('the tempo is that of all taps; a pause begins anew', () => {
  const taps = new TapTempo()
  expect(taps.tap(1000)).toBe(null)
  expect(taps.tap(1500)).toBe(120)
  expect(taps.tap(2020)).toBeCloseTo(117.6)
  expect(taps.tap(2500)).toBeCloseTo(119.5)
  expect(taps.tap(9000)).toBe(null)
  expect(taps.tap(9600)).toBe(100)
  expect(taps.tap(9600)).toBe(null)
})

test('what is counted in has clicks and no hits, and what was played is found by its time', async () => {
  const steps: [number, number][] = []
  const hits: number[] = []
  const transport = playing({ hit: (_, __, at) => hits.push(Math.round(at * 1000)), step: (step, at) => steps.push([step, Math.round(at * 1000)]), silence: () => undefined })
  transport.start(16, 16)
  await vi.advanceTimersByTimeAsync(2500)
  expect(steps[0]).toEqual([-16, 60])
  expect(steps[15][0]).toBe(-1)
  expect(steps[16]).toEqual([16, 2060])
  expect(Math.min(...hits)).toBe(2060)
  expect(transport.now()).toBe(19)
  expect(transport.near(2.19)).toContainEqual({ step: 17, late: expect.closeTo(0.04, 5) })
  expect(transport.near(2.02)).toContainEqual({ step: 16, late: expect.closeTo(-0.32, 5) }) // ahead of the first beat
  transport.stop()
})

// -------------------------------------------------------------------- ports

function browser(midi: FakeMidi | null, isSecureContext = true) {
  vi.stubGlobal('isSecureContext', isSecureContext)
  vi.stubGlobal('navigator', midi ? { requestMIDIAccess: midi.request } : {})
}

test('why there is no MIDI is said in a line', async () => {
  browser(null)
  expect(lackOfMidi()).toMatch(/This browser has no MIDI/)
  browser(null, false)
  expect(new Ports(() => undefined).trouble).toMatch(/https/)
  for (const [answer, line] of [['SecurityError', /allow it/], ['NotAllowedError', /allow it/], ['NotSupportedError', /has no MIDI/], ['InvalidStateError', /cannot be opened/]] as const) {
    browser(new FakeMidi({ answer }))
    const ports = new Ports(() => undefined)
    const asking = ports.connect()
    await vi.advanceTimersByTimeAsync(5)
    await asking
    expect(ports.trouble).toMatch(line)
    expect(ports.isConnected).toBe(false)
  }
  browser(new FakeMidi({ answer: 'pending' }))
  const ports = new Ports(() => undefined)
  void ports.connect()
  await vi.advanceTimersByTimeAsync(3000)
  expect(ports.trouble).toBe(null)
  await vi.advanceTimersByTimeAsync(3000)
  expect(ports.trouble).toMatch(/has not answered yet/)
})

test('devices that come and go are told once each, and opening a port is neither', async () => {
  const midi = new FakeMidi()
  browser(midi)
  const told: string[] = []
  const ports = new Ports((changed) => { if (changed) told.push(`${changed.port.name} ${changed.isThere}`) })
  const asking = ports.connect()
  await vi.advanceTimersByTimeAsync(5)
  await asking
  const pads = midi.plug('input', 'Pads')
  await pads.open()
  midi.unplug(pads)
  expect(ports.of('input')).toEqual([])
  midi.plug('input', 'Pads')
  expect(ports.of('input')).toEqual([pads])
  expect(told).toEqual(['Pads true', 'Pads false', 'Pads true'])
})
