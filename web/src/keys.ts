/** Keys for the whole page; those of the grid are in sequencer.ts. */

import { byId, element, kept } from './dom'

export interface Key {
  /** As `KeyboardEvent.key`, lower case; with "ctrl+" and "shift+" before it. */
  press: string
  /** As shown. */
  shown: string
  does: string
  action?: () => void
  /** Whether it does so once where it is held. */
  once?: boolean
  /** Whether it is left to the browser now. */
  isLeft?: () => boolean
}

/** Kept where single keys are off. */
const OFF = 'hypermeter no single keys'

const areOn = () => kept.getItem(OFF) === null
const isTyped = (target: HTMLElement) => target.matches('input:not([type=range]), select, textarea, [contenteditable]')

/** @returns those that have an action are listened for, wherever one is but in a field */
export function bindKeys(keys: Key[]): void {
  const pressOf = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement
    const name = event.key.toLowerCase()
    const ctrl = event.ctrlKey || event.metaKey
    if (event.altKey || document.querySelector('dialog[open]')) return null
    if (isTyped(target) && !(ctrl && (name === 'z' || name === 'y'))) return null
    // Letters and Space are for the page alone where they are on; else Space presses what has the focus.
    if (name.length === 1 && !ctrl && !areOn() && !(name === ' ' && target === document.body)) return null
    const shift = event.shiftKey && (name.length > 1 || ctrl)
    const press = `${ctrl ? 'ctrl+' : ''}${shift ? 'shift+' : ''}${name}`
    const key = keys.find((binding) => binding.press === press && binding.action)
    return key?.isLeft?.() ? null : key ?? null
  }
  document.addEventListener('keydown', (event) => {
    const key = pressOf(event)
    if (!key) return
    event.preventDefault()
    if (!event.repeat || (!key.once && key.press !== ' ')) key.action!()
  })
  document.addEventListener('keyup', (event) => { if (event.key === ' ' && pressOf(event)) event.preventDefault() }) // a button is pressed by it in Firefox
  byId('keys-list').append(...keys.flatMap(({ shown, does }) => [
    element('dt', {}, ...shown.split(' ').map((name) => element('kbd', {}, name))), element('dd', {}, does),
  ]))
  const single = byId<HTMLInputElement>('single-keys')
  single.checked = areOn()
  single.addEventListener('change', () => (single.checked ? kept.removeItem(OFF) : kept.setItem(OFF, 'yes')))
}

/** The words of the page, each with what its tooltip says: not all screens have tooltips. */
export function listWords(): void {
  const found = document.querySelectorAll<HTMLElement>('.transport [title], .bar-tools [title], .rhythm [title], .ask [title]')
  byId('words-list').append(...[...found].flatMap((node) => {
    const word = node.firstChild?.textContent?.trim()
    return word ? [element('dt', {}, word), element('dd', {}, node.title)] : []
  }))
}
