import { expect, test } from 'vitest'
import { checkOptions, DEFAULTS, isWithin, MOST_SEED } from '../src/bounds'
import type { Meta } from '../src/meta'
import type { Asked, ContinueOptions, InfillOptions } from '../src/protocol'

const meta = { numbers: ['tempo_bpm', 'density', 'offbeat'], kinds: ['section', 'style', 'fill'] } as unknown as Meta
const { seed, temperature, top_p: topP, guidance } = DEFAULTS
const options = { seed, temperature, topP, guidance, bias: null, asked: null } as unknown as ContinueOptions
const asked = (numbers: number[], labels = [0, 0, 0]): Asked => ({ labels, numbers })

test('the defaults are within the bounds, and so are the ends of these', () => {
  for (const change of [
    {}, { temperature: 0 }, { temperature: 10 }, { guidance: 0 }, { guidance: 100 }, { topP: 1e-9 }, { seed: MOST_SEED },
    { bias: [-100, 0, 100] }, { asked: asked([NaN, 0, 1]) }, { asked: asked([240, NaN, NaN]) },
  ]) expect(() => checkOptions(meta, { ...options, ...change })).not.toThrow()
  const infill = { ...options, particles: DEFAULTS.particles, horizonBars: null } as unknown as InfillOptions
  expect(() => checkOptions(meta, infill)).not.toThrow()
})

test.each([
  [{ temperature: -0.1 }, 'temperature is -0.1, expected from 0 to 10'],
  [{ temperature: NaN }, 'temperature is NaN'],
  [{ topP: 0 }, 'top_p is 0, expected above 0 up to 1'],
  [{ topP: 1.1 }, 'top_p is 1.1'],
  [{ guidance: 101 }, 'guidance is 101'],
  [{ bias: [0, -101] }, 'bias is -101'],
  [{ seed: -1 }, 'seed is -1, expected a whole number from 0 to 9007199254740991'],
  [{ seed: 2 ** 53 }, 'seed is 9007199254740992'],
  [{ asked: asked([120, 1.5, NaN]) }, 'density is 1.5, expected from 0 to 1'],
  [{ asked: asked([120, NaN, NaN, 120, 0.5, -1]) }, 'offbeat is -1'],
  [{ asked: asked([19, NaN, NaN]) }, 'tempo_bpm is 19'],
  [{ particles: 0, horizonBars: null }, 'particles is 0'],
  [{ particles: 1.5, horizonBars: null }, 'particles is 1.5, expected a whole number from 1 to 65536'],
  [{ particles: 65_537, horizonBars: null }, 'particles is 65537'],
  [{ particles: 1, horizonBars: -1 }, 'horizon_bars is -1'],
  [{ bars: 0 }, 'bars is 0'],
])('%j is refused', (change, message) => {
  expect(() => checkOptions(meta, { ...options, ...change } as ContinueOptions)).toThrow(message)
})

test('a seed is a whole number that JavaScript holds', () => {
  expect([0, 1, MOST_SEED].every((seed) => isWithin('seed', seed))).toBe(true)
  expect([-1, 0.5, MOST_SEED + 1, NaN, Infinity].some((seed) => isWithin('seed', seed))).toBe(false)
})
