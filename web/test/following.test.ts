import { expect, test } from 'vitest'
import { ClockRules, FollowedTempo } from '../src/live/following'
import recorded from './following.json'

interface Clock {
  name: string
  steps_per_quarter: number
  messages: [number, number[]][]
  /** After the message of a place: that, tempo, next step, positions 4 ms and 1 s after the message, times of two steps; null where there is none. */
  told: (number | null)[][]
}

const clocks = recorded as unknown as Clock[]
const follower = { restart: () => undefined, stop: () => undefined, jump: () => undefined, rewind: () => undefined }

test.each(clocks)('the clock is followed as in Python: $name', ({ steps_per_quarter, messages, told }) => {
  const tempo = new FollowedTempo(100, steps_per_quarter)
  const rules = new ClockRules(tempo, follower)
  const rows = new Map(told.map(([place, ...row]) => [place, row]))
  expect(rows.size).toBeGreaterThan(10)
  messages.forEach(([when, data], place) => {
    rules.receive(Uint8Array.from(data), when)
    const row = rows.get(place)
    if (!row) return
    const next = tempo.nextStep
    const found = [
      tempo.tempo, next, tempo.position(when + 0.004), tempo.position(when + 1), tempo.timeOf(Math.floor(next)), tempo.timeOf(next + 0.05),
    ]
    found.forEach((value, kind) => {
      const expected = row[kind]
      if (expected === null) expect(Number.isFinite(value), `message ${place}, ${kind}`).toBe(false)
      else expect(value, `message ${place}, ${kind}`).toBeCloseTo(expected, 6)
    })
  })
})

test('notes stop when the clock does, a tick and a half after its last', () => {
  const { messages, steps_per_quarter } = clocks.find(({ name }) => name === 'steady')!
  const tempo = new FollowedTempo(100, steps_per_quarter)
  const rules = new ClockRules(tempo, follower)
  for (const [when, data] of messages) rules.receive(Uint8Array.from(data), when)
  const last = (messages.length - 2) / 6 // of 6 ticks a step, the first at 0
  expect(tempo.position(1000)).toBeCloseTo(last + 1.5 / 6)
  expect(tempo.timeOf(last + 1.4 / 6)).toBeLessThan(Infinity)
  expect(tempo.timeOf(last + 1.6 / 6)).toBe(Infinity)
})
