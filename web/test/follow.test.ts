import { expect, test } from 'vitest'
import { answering, lockTaps, loudVoices, toldVelocities, type Rhythm } from '../src/follow'
import type { Meta } from '../src/meta'

const names: [string, number][] = [['kick', 36], ['snare', 38], ['closed_hat', 42], ['crash', 49], ['ride', 51]]
const meta = { kit: { voices: names.map(([name, write]) => ({ name, label: name, pitches: [write], write })) } } as unknown as Meta
const V = names.length

function rhythm(velocities: number[]): Rhythm {
  const isTap = Uint8Array.from(velocities, (velocity) => Number(velocity > 0))
  return { name: 'taps', isTap, velocity: toldVelocities(isTap, velocities), isOnOnePitch: true }
}

const rows = (cells: Uint8Array) => Array.from({ length: cells.length / V }, (_, step) => [...cells.subarray(step * V, (step + 1) * V)].join(''))
const none = (steps: number) => new Uint8Array(steps * V)

test('voices answer by name, or all, or those that are loud', () => {
  expect([...loudVoices(meta)]).toEqual([1, 1, 0, 1, 0])
  expect([...answering(meta, 'loud')]).toEqual([1, 1, 0, 1, 0])
  expect([...answering(meta, 'all')]).toEqual([1, 1, 1, 1, 1])
  expect([...answering(meta, 'snare')]).toEqual([0, 1, 0, 0, 0])
})

test('some voice that answers is demanded at a tap, and none between where that is asked', () => {
  const own = rhythm([0.5, 0, 0.95])
  for (const between of ['silent', 'free'] as const) {
    const { known, some } = lockTaps(own, 3, none(4), none(4), answering(meta, 'all'), loudVoices(meta), between)
    expect(rows(some)).toEqual(['11111', '00000', '11010', '00000']) // a loud voice answers an accent; after the end nothing
    expect(rows(known)).toEqual(['00000', between === 'silent' ? '11111' : '00000', '00000', '00000'])
  }
})

test('a short rhythm begins again', () => {
  const { some } = lockTaps(rhythm([0.5, 0]), 5, none(5), none(5), answering(meta, 'kick'), loudVoices(meta), 'silent')
  expect(rows(some)).toEqual(['10000', '00000', '10000', '00000', '10000'])
})

test('what is locked stays, and a tap at which all of its set is locked to silence has no answer', () => {
  const [known, values] = [none(3), none(3)]
  known.set([1, 1, 0, 1, 0], 0)
  known.set([1, 1, 0, 1, 0], V)
  values[V] = 1 // the kick at the second step
  const locks = lockTaps(rhythm([0.5, 0.5, 0.5]), 3, known, values, answering(meta, 'loud'), loudVoices(meta), 'silent')
  expect(rows(locks.some)).toEqual(['00000', '11010', '11010'])
  expect(rows(locks.known)).toEqual(['11010', '11010', '00000'])
  expect(rows(known)).toEqual(['11010', '11010', '00000'])
})

test('velocities that are all the same are not known', () => {
  expect([...toldVelocities(Uint8Array.of(1, 0, 1), [0.8, 0, 0.8])]).toEqual([NaN, NaN, NaN])
  expect([...toldVelocities(Uint8Array.of(1, 0, 1), [0.8, 0, 0.9])]).toEqual([0.8, NaN, 0.9])
})
