import { expect, test } from 'vitest'
import drums from '../../src/hypermeter/share/sound/drums.json'
import { type Drums, limited, Samples, soundName } from '../src/kit'

const kit = drums as unknown as Drums
const CHECK_VELOCITY = 0.8

test.each(Object.entries(kit.voices).filter(([, sound]) => sound.check))('%s has the samples that Python makes', (_, sound) => {
  const samples = new Samples(sound, kit.sample_rate_hz).at(CHECK_VELOCITY)
  const { length, peak, rms, samples: places } = sound.check!
  expect(samples.length).toBe(length)
  expect(Math.abs(samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0) - peak)).toBeLessThan(1e-6)
  expect(Math.abs(Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / length) - rms)).toBeLessThan(1e-6)
  for (const [place, value] of Object.entries(places)) expect(Math.abs(samples[Number(place)] - value)).toBeLessThan(1e-6)
})

test('softer hits are softer', () => {
  const samples = new Samples(kit.voices.snare, kit.sample_rate_hz)
  const loudness = (velocity: number) => samples.at(velocity).reduce((sum, x) => sum + x * x, 0)
  expect(loudness(0.3)).toBeLessThan(loudness(0.6))
  expect(loudness(0.6)).toBeLessThan(loudness(1))
  expect(loudness(0)).toBe(0)
})

test('voices of any kit have a sound', () => {
  expect(soundName(kit, 'kick', 36)).toBe('kick')
  expect(soundName(kit, 'my_snare', 38)).toBe(soundName(kit, 'snare', 38))
  expect(kit.voices[soundName(kit, 'anything', 3)].layers!.length).toBeGreaterThan(0)
})

test('the limiter bends only what is past its threshold, and stays within 1', () => {
  expect(limited(0.5, 0.7)).toBe(0.5)
  expect(limited(-0.9, 0.7)).toBe(-limited(0.9, 0.7))
  for (const x of [0.7, 0.9, 1.5, 4]) expect(limited(x, 0.7)).toBeLessThan(1)
  expect(limited(0.9, 0.7)).toBeGreaterThan(limited(0.8, 0.7))
})
