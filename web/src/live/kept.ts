/** What is set of pads, machines and clock: kept in the browser, for each device what was learnt. */

import type { Device } from './ports'

const PLACE = 'hypermeter midi'

/** Controls of the page by the knob or pad that moves them, of one device. */
export type Learnt = Record<string, string>

export interface Kept {
  out: Device | null
  /** From 1. */
  channel: number
  outMap: string
  sendsClock: boolean
  /** Null for none, true for all. */
  pads: Device | true | null
  padsMap: string
  isHeard: boolean
  clockFrom: Device | null
  /** Milliseconds by which all is later than the clock that is followed. */
  lateMs: number
  isQuantised: boolean
  isOverdub: boolean
  isClicking: boolean
  /** Bars. */
  countIn: number
  delayMs: number
  learnt: Record<string, Learnt>
}

export const FIRST: Kept = {
  out: null, channel: 10, outMap: 'gm', sendsClock: false, pads: true, padsMap: 'gm', isHeard: true, clockFrom: null, lateMs: 0,
  isQuantised: false, isOverdub: true, isClicking: false, countIn: 1, delayMs: 0, learnt: {},
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
const isText = (value: unknown) => typeof value === 'string'
const isFlag = (value: unknown) => typeof value === 'boolean'
const isDevice = (value: unknown) => value === null || (isObject(value) && isText(value.name) && isText(value.manufacturer))
const within = (low: number, high: number) => (value: unknown) => typeof value === 'number' && value >= low && value <= high

export const MOST_LATE_MS = 250

const VALID: Record<keyof Kept, (value: unknown) => boolean> = {
  out: isDevice, channel: (value) => within(1, 16)(value) && Number.isInteger(value), outMap: isText, sendsClock: isFlag,
  pads: (value) => value === true || isDevice(value), padsMap: isText, isHeard: isFlag, clockFrom: isDevice,
  lateMs: within(-MOST_LATE_MS, MOST_LATE_MS), isQuantised: isFlag, isOverdub: isFlag, isClicking: isFlag,
  countIn: (value) => [0, 1, 2].includes(value as number), delayMs: within(0, MOST_LATE_MS),
  learnt: (value) => isObject(value) && Object.values(value).every((all) => isObject(all) && Object.values(all).every(isText)),
}

/** What was kept; where anything of it is not what it should be, the first settings. */
export function readKept(): Kept {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(PLACE) ?? '{}')
    if (!isObject(found)) return FIRST
    const names = Object.keys(FIRST) as (keyof Kept)[]
    return { ...FIRST, ...Object.fromEntries(names.filter((name) => VALID[name](found[name])).map((name) => [name, found[name]])) }
  } catch {
    return FIRST // no storage, or not what the page wrote
  }
}

export function writeKept(kept: Kept): void {
  try {
    localStorage.setItem(PLACE, JSON.stringify(kept))
  } catch {
    // a browser that denies storage: it holds until the page is closed
  }
}
