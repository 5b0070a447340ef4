/** What can be asked of a model, as `hypermeter.play.request` has it: `bounds.json` is written from there. */

import bounds from './bounds.json'
import type { Meta } from './meta'
import type { ContinueOptions, InfillOptions } from './protocol'

export const DEFAULTS = bounds.defaults
export const [LEAST_SEED, MOST_SEED] = bounds.seed

export function isSeed(value: number): boolean {
  return Number.isInteger(value) && value >= LEAST_SEED && value <= MOST_SEED
}

/** @throws RangeError where something is asked that Python and the server would refuse too */
export function checkOptions(meta: Meta, options: ContinueOptions | InfillOptions): void {
  const { seed, temperature, topP, bias, guidance, asked } = options
  if (!isSeed(seed)) throw new RangeError(`seed is ${seed}, expected a whole number from ${LEAST_SEED} to ${MOST_SEED}`)
  check('temperature', temperature, bounds.temperature)
  check('top_p', topP, bounds.top_p)
  if (topP === 0) throw new RangeError('top_p is 0, expected more')
  check('guidance', guidance, bounds.guidance)
  bias?.forEach((value) => check('bias', value, bounds.bias))
  for (const name of ['density', 'offbeat'] as const) {
    const place = meta.numbers.indexOf(name)
    asked?.numbers.forEach((value, i) => {
      if (i % meta.numbers.length === place && !Number.isNaN(value)) check(name, value, bounds[name])
    })
  }
  if ('particles' in options && !(Number.isInteger(options.particles) && options.particles >= 1)) {
    throw new RangeError(`particles is ${options.particles}, expected a whole number from 1 on`)
  }
}

function check(name: string, value: number, [least, most]: number[]): void {
  if (!(value >= least && value <= most)) throw new RangeError(`${name} is ${value}, expected ${least} to ${most}`)
}
