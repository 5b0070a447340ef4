/**
 * At least one hit among some voices of a step: its probability, and independent voices drawn given it; as
 * `hypermeter.play.unions`.
 */

import { sigmoid, softplus, type Lock } from './mixture'

/** log(exp(a) + exp(b)). */
function logAddExp(a: number, b: number): number {
  const most = Math.max(a, b)
  return most === -Infinity ? most : most + Math.log1p(Math.exp(-Math.abs(a - b)))
}

/** The voices of a lock's set of which at least one has yet to sound; null where none has to. */
export function openVoices({ known, values, some }: Lock): number[] | null {
  if (!some) return null
  const open: number[] = []
  let isEmpty = true
  for (let v = 0; v < some.length; v++) {
    if (!some[v]) continue
    isEmpty = false
    if (!known[v]) open.push(v)
    else if (values[v]) return null
  }
  return isEmpty ? null : open
}

/**
 * log P(at least one hit of the open voices), in nats; -Infinity where there are none.
 *
 * @param first of the component's logits in `logits`
 */
export function logSome(logits: ArrayLike<number>, first: number, open: number[]): number {
  let total = -Infinity
  for (const v of open) {
    const logit = logits[first + v]
    total = logAddExp(-softplus(-logit), total - softplus(logit))
  }
  return total
}

/** Draws independent voices into `out`, given that at least one of the open ones sounds; number 1 + v is of voice v. */
export function drawSome(logits: ArrayLike<number>, open: number[], drawn: ArrayLike<number>, out: Uint8Array): void {
  const chances = new Map<number, number>()
  let later = -Infinity // log P(at least one of the open voices from this one on)
  for (const v of [...open].reverse()) {
    const logHit = -softplus(-logits[v])
    later = logAddExp(logHit, later - softplus(logits[v]))
    chances.set(v, Math.exp(logHit - later))
  }
  let isDue = true
  for (let v = 0; v < out.length; v++) {
    const chance = isDue ? chances.get(v) : undefined
    out[v] = drawn[1 + v] < (chance ?? sigmoid(logits[v])) ? 1 : 0
    if (chance !== undefined && out[v]) isDue = false
  }
}
