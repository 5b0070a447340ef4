import { expect, test } from 'vitest'
import { checkOptions, DEFAULTS, isSeed, MOST_SEED } from '../src/bounds'
import type { Meta } from '../src/meta'
import { asksBeyondTempo } from '../src/plan'
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
  const infill = { ...options, particles: DEFAULTS.particles } as unknown as InfillOptions
  expect(() => checkOptions(meta, infill)).not.toThrow()
})

test.each([
  [{ temperature: -0.1 }, 'temperature is -0.1, expected 0 to 10'],
  [{ temperature: NaN }, 'temperature is NaN'],
  [{ topP: 0 }, 'top_p is 0, expected more'],
  [{ topP: 1.1 }, 'top_p is 1.1'],
  [{ guidance: 101 }, 'guidance is 101'],
  [{ bias: [0, -101] }, 'bias is -101'],
  [{ seed: -1 }, 'seed is -1'],
  [{ seed: 2 ** 53 }, 'seed is 9007199254740992'],
  [{ asked: asked([120, 1.5, NaN]) }, 'density is 1.5, expected 0 to 1'],
  [{ asked: asked([120, NaN, NaN, 120, 0.5, -1]) }, 'offbeat is -1'],
  [{ particles: 0 }, 'particles is 0'],
])('%j is refused', (change, message) => {
  expect(() => checkOptions(meta, { ...options, ...change } as ContinueOptions)).toThrow(message)
})

test('a seed is a whole number that JavaScript holds', () => {
  expect([0, 1, MOST_SEED].every(isSeed)).toBe(true)
  expect([-1, 0.5, MOST_SEED + 1, NaN, Infinity].some(isSeed)).toBe(false)
})

test('guidance counts where something beyond the tempo is asked of any bar', () => {
  expect(asksBeyondTempo(meta, null)).toBe(false)
  expect(asksBeyondTempo(meta, asked([120, NaN, NaN]))).toBe(false)
  expect(asksBeyondTempo(meta, asked([120, 0, NaN]))).toBe(true)
  expect(asksBeyondTempo(meta, asked([NaN, NaN, NaN, 120, NaN, NaN], [0, 0, 0, 0, 0, 2]))).toBe(true)
})
