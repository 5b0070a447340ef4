/** What knobs, faders and pads do with the controls of the page, by the rules of the maps of `hypermeter play`. */

import { keyOf, type Moved } from './messages'

/** Share from which a knob or pedal counts as pressed. */
const PRESSED = 0.5
/** A number that has no greatest value goes up to that of a controller. */
const MOST = 127

export type Control = HTMLButtonElement | HTMLInputElement | HTMLSelectElement

const CONTROLS = 'button, input[type=range], input[type=number], select'
/** Those of one press only: cells and bars change their places, dialogs and this panel's own lists come and go. */
const OUTSIDE = '#grid, #overview, dialog, #first, #learnt, #learn, #update, #stop'

/** Under which a control is known: its id, or what it is called. */
export const nameOf = (control: Control) => control.id || (control.getAttribute('aria-label') ?? '')

/** The control that a click or the focus is on, or that a label is of. */
export function controlOf(target: EventTarget | null): Control | null {
  if (!(target instanceof Element)) return null
  const found = target.closest<Control>(CONTROLS) ?? target.closest('label')?.querySelector<Control>(CONTROLS)
  return found && found.matches(CONTROLS) && !found.closest(OUTSIDE) && nameOf(found) ? found : null
}

export function controlNamed(name: string): Control | null {
  const found = document.getElementById(name) ?? document.querySelector(`[aria-label="${CSS.escape(name)}"]`)
  return controlOf(found)
}

/** As a person knows it. */
export function titleOf(name: string): string {
  const control = controlNamed(name)
  if (!control) return name
  const own = control.getAttribute('aria-label') ?? (control instanceof HTMLButtonElement ? control.textContent : control.closest('label')?.firstChild?.textContent)
  return own?.trim() || name
}

/** Whether it goes from one end to the other, or is pressed. */
const hasRange = (control: Control) => !(control instanceof HTMLButtonElement)

/** Sets a control that has a range to a share of it, in [0, 1]. */
function setShare(control: HTMLInputElement | HTMLSelectElement, share: number): void {
  if (control instanceof HTMLSelectElement) {
    control.selectedIndex = Math.min(Math.floor(share * control.options.length), control.options.length - 1)
  } else {
    const [low, step] = [Number(control.min) || 0, Number(control.step) || 1]
    const high = control.max === '' ? MOST : Number(control.max)
    const steps = Math.round((share * (high - low)) / step)
    control.value = String(Math.round((low + steps * step) * 1e6) / 1e6)
  }
  control.dispatchEvent(new Event('input', { bubbles: true }))
  control.dispatchEvent(new Event('change', { bubbles: true }))
}

export class Learnings {
  private readonly wasPressed = new Map<string, boolean>()

  /** @returns the learnt control of a device that a message is of; null where none is */
  static find(learnt: Record<string, string>, moved: Moved): string | null {
    return learnt[keyOf(moved)] ?? null
  }

  /** Does what a message does: letting go does nothing, and a control that cannot be used now is left alone. */
  move(name: string, moved: Moved): void {
    const control = controlNamed(name)
    if (!control) return
    const { kind, share } = moved
    const key = `${name} ${keyOf(moved)}`
    if (hasRange(control)) {
      if (!control.disabled && !(kind === 'note' && !share)) setShare(control as HTMLInputElement, share)
      return
    }
    const isPressed = kind === 'note' ? share > 0 : share >= PRESSED
    const was = kind !== 'program' && kind !== 'note' && this.wasPressed.get(key)
    this.wasPressed.set(key, isPressed)
    if (isPressed && !was && !control.disabled) control.click()
  }
}
