/** A song as samples, a few seconds at a time: so that it can be told how far it is, stopped, and written as it comes. */

import { type Kit, Mixer, type Routing } from './audio'

/** A stroke to be rendered: frames from the start. */
export interface TimedHit {
  voice: number
  velocity: number
  frame: number
  /** Of a hi-hat; NaN where it is not known, which sounds open. */
  openness: number
}

/** What is to be rendered. */
export interface Score {
  hits: TimedHit[]
  frames: number
  /** Whether it begins with what is left of its end, to be played over and over. */
  isLoop: boolean
}

/** Frames that are rendered at once: whole blocks of the audio engine, which changes gains once a block. */
const BLOCK = 128
const CHUNK = BLOCK * 4096
/** Milliseconds until the page gets its turn. */
const TURN_MS = 12

/**
 * Left and right, one part of the score after the other. Each part is rendered from the first stroke on that is still heard in
 * it, so that all are as they would be at once.
 *
 * @throws what the signal was aborted for
 */
export async function* rendered(kit: Kit, { hits, frames, isLoop }: Score, routing: Routing, signal?: AbortSignal): AsyncGenerator<Float32Array[]> {
  const room = kit.roomBuffer().length
  const longest = Math.max(...kit.names.map((_, voice) => kit.framesOf(voice, routing.own?.[voice]))) + room
  const all = isLoop ? repeated(hits, frames, longest) : hits.map((hit) => ({ ...hit, frame: Math.max(0, hit.frame) }))
  all.sort((a, b) => a.frame - b.frame)
  for (let start = 0; start < frames; start += CHUNK) {
    const end = Math.min(frames, start + CHUNK)
    const heard = all.filter(({ frame, voice }) => frame < end && frame + kit.framesOf(voice, routing.own?.[voice]) + room > start)
    const first = Math.min(start, ...heard.map(({ frame }) => frame))
    const origin = start - Math.ceil((start - first) / BLOCK) * BLOCK
    const context = new OfflineAudioContext(2, end - origin, kit.rate)
    const mixer = new Mixer(context, kit, { ...routing, isExact: true })
    let turn = performance.now()
    for (const { voice, velocity, frame, openness } of all) {
      if (frame < first || frame >= end) continue // among them those that are over, and silenced others
      if (performance.now() - turn > TURN_MS) {
        await new Promise((resolve) => setTimeout(resolve, 0))
        signal?.throwIfAborted()
        turn = performance.now()
      }
      mixer.hit(voice, velocity, (frame - origin) / kit.rate, openness)
    }
    signal?.throwIfAborted()
    const found = await context.startRendering()
    signal?.throwIfAborted()
    yield [0, 1].map((side) => found.getChannelData(side).subarray(start - origin))
  }
}

/** Strokes of a loop, with those of the rounds before that are still heard; one that is early at its start is late at its end. */
function repeated(hits: TimedHit[], frames: number, longest: number): TimedHit[] {
  const rounds = Math.ceil(longest / frames)
  const own = hits.map((hit) => ({ ...hit, frame: ((hit.frame % frames) + frames) % frames }))
  return Array.from({ length: rounds + 1 }, (_, round) => own.map((hit) => ({ ...hit, frame: hit.frame - round * frames })))
    .flat().filter(({ frame }) => frame + longest > 0)
}
