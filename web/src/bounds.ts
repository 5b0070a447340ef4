/** What can be asked of a model, as `hypermeter.play.request` has it: `bounds.json` is written from there. */

import bounds from './bounds.json'
import type { Meta } from './meta'
import type { ContinueOptions, InfillOptions } from './protocol'

export const DEFAULTS = bounds.defaults
export const { least: LEAST_SEED, most: MOST_SEED } = bounds.bounds.seed

type Name = keyof typeof bounds.bounds

/** Whether a number is within the bounds of what it asks. */
export function isWithin(name: Name, value: number): boolean {
  const { least, most, is_open, is_whole } = bounds.bounds[name]
  return value >= least && value <= most && !(is_open && value === least) && !(is_whole && !Number.isInteger(value))
}

/** @throws RangeError where something is asked that Python and the server would refuse too */
export function checkOptions(meta: Meta, options: ContinueOptions | InfillOptions): void {
  const { seed, temperature, topP, bias, guidance, asked } = options
  check('seed', seed)
  check('temperature', temperature)
  check('top_p', topP)
  check('guidance', guidance)
  bias?.forEach((value) => check('bias', value))
  asked?.numbers.forEach((value, i) => {
    if (!Number.isNaN(value)) check(meta.numbers[i % meta.numbers.length] as Name, value)
  })
  if ('bars' in options) check('bars', options.bars)
  if ('particles' in options) {
    check('particles', options.particles)
    if (options.horizonBars !== null) check('horizon_bars', options.horizonBars)
  }
}

function check(name: Name, value: number): void {
  const { least, most, is_open, is_whole } = bounds.bounds[name]
  if (isWithin(name, value)) return
  const expected = is_open ? `above ${least} up to ${most}` : `from ${least} to ${most}`
  throw new RangeError(`${name} is ${value}, expected ${is_whole ? 'a whole number ' : ''}${expected}`)
}
