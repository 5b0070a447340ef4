/** A small picture of hits: a mark for each, by its step and row. */

export interface Mark {
  step: number
  row: number
  /** In (0, 1]. */
  loud: number
  /** Of its colour. */
  stream: string
}

const SVG = 'http://www.w3.org/2000/svg'
const ROW = 3

/** @returns an image that assistive technology leaves out: what it shows is told in words beside it */
export function sketch(marks: Mark[], steps: number, rows: number): SVGElement {
  const image = document.createElementNS(SVG, 'svg')
  image.setAttribute('viewBox', `0 0 ${steps} ${rows * ROW}`)
  image.setAttribute('preserveAspectRatio', 'none')
  image.setAttribute('aria-hidden', 'true')
  image.classList.add('sketch')
  for (const { step, row, loud, stream } of marks) {
    const mark = document.createElementNS(SVG, 'rect')
    const values = { x: step + 0.1, y: row * ROW + 0.3, width: 0.8, height: ROW - 0.6, opacity: 0.35 + 0.65 * loud }
    for (const [name, value] of Object.entries(values)) mark.setAttribute(name, String(value))
    mark.classList.add(stream)
    image.append(mark)
  }
  return image
}
