/** Keys for the whole page; those of the grid are in sequencer.ts. */

import { byId, element } from './dom'

export interface Key {
  /** As `KeyboardEvent.key`, lower case; with "ctrl+" and "shift+" before it. */
  press: string
  /** As shown. */
  shown: string
  does: string
  action?: () => void
  /** Whether it does so once where it is held. */
  once?: boolean
}

/** @returns those that have an action are listened for, wherever one is but in a field */
export function bindKeys(keys: Key[]): void {
  document.addEventListener('keydown', (event) => {
    const target = event.target as HTMLElement
    const inField = target.matches('input:not([type=range]), select, textarea, [contenteditable]')
    if (event.altKey || document.querySelector('dialog[open]')) return
    const ctrl = event.ctrlKey || event.metaKey
    if (event.key === ' ' && target !== document.body) return // it presses what has the focus
    const name = event.key.toLowerCase()
    if (inField && (!ctrl || name === 'a')) return
    const press = `${ctrl ? 'ctrl+' : ''}${event.shiftKey && name.length > 1 || (ctrl && event.shiftKey) ? 'shift+' : ''}${name}`
    const key = keys.find((binding) => binding.press === press && binding.action)
    if (!key) return
    event.preventDefault()
    if (!event.repeat || !key.once) key.action!()
  })
  byId('keys-list').append(...keys.flatMap(({ shown, does }) => [
    element('dt', {}, ...shown.split(' ').map((name) => element('kbd', {}, name))), element('dd', {}, does),
  ]))
}

/** The words of the page, each with what its tooltip says: not all screens have tooltips. */
export function listWords(): void {
  const found = document.querySelectorAll<HTMLElement>('.transport [title], .bar-tools [title], .rhythm [title], .ask [title]')
  byId('words-list').append(...[...found].flatMap((node) => {
    const word = node.firstChild?.textContent?.trim()
    return word ? [element('dt', {}, word), element('dd', {}, node.title)] : []
  }))
}
