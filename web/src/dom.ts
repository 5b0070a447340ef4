/** Small helpers for the document. */

/** The element of an id that stands in index.html. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (!found) throw new Error(`no element ${id} in the page`)
  return found as T
}

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Record<string, string> = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

/** Set only where it differs, so that nothing is laid out or read out for nothing. */
export function setAttribute(node: Element, name: string, value: string | null): void {
  if (node.getAttribute(name) === value) return
  if (value === null) node.removeAttribute(name)
  else node.setAttribute(name, value)
}

export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text
}

export function setPressed(node: Element, pressed: boolean): void {
  setAttribute(node, 'aria-pressed', String(pressed))
}

/** @param parts bytes, one after the other */
export function download(parts: Uint8Array[], name: string, type: string): void {
  const url = URL.createObjectURL(new Blob(parts as BlobPart[], { type }))
  const link = element('a', { href: url, download: name })
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** A finger that scrolls over a slider leaves it as it was: browsers move it at the first touch. */
export function guardSliders(): void {
  let touched: { slider: HTMLInputElement; value: string } | null = null
  document.addEventListener('pointerdown', ({ target, pointerType }) => {
    const isSlider = pointerType === 'touch' && target instanceof HTMLInputElement && target.type === 'range'
    touched = isSlider ? { slider: target, value: target.value } : null
  }, true)
  document.addEventListener('pointercancel', () => {
    if (!touched) return
    touched.slider.value = touched.value
    touched.slider.dispatchEvent(new Event('input', { bubbles: true }))
  })
}

/** The browser's storage of what is chosen for all songs, or none where it is denied. */
export const kept: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> = (() => {
  try {
    return localStorage
  } catch {
    return { getItem: () => null, setItem: () => undefined, removeItem: () => undefined }
  }
})()
