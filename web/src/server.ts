/** The model on the server that the page came from, see docs/server.md. It plays what the page would. */

import type { Grid } from './grids'
import type { Meta } from './meta'
import type { Asked, ContinueOptions, Engine, Filled, HeardSong, InfillOptions } from './protocol'
import { cellsIn, type Part, type Stroke } from './song'

/** Milliseconds that the server has to say that it is there. */
const PATIENCE_MS = 3000

interface Groove {
  hits: number[][]
  velocity: number[][]
  offset: number[][]
  openness: (number | null)[][] | null
  strokes: { step: number; voice: number; offset: number; velocity: number; openness: number | null }[]
  tempo_bpm: number
  grid: Grid
}

/**
 * Whether files that come so may come from Hypermeter's server: all of its answers have this header.
 *
 * A plain host has not, and is not asked: its 404 would be logged as an error.
 */
export function mayBeServer(headers: Headers): boolean {
  return headers.get('cross-origin-embedder-policy') !== null
}

/** The server's engine, or null where there is none, or it does not have this model. */
export async function findServer(meta: Meta, base: string): Promise<ServerEngine | null> {
  try {
    const health = await fetch(new URL('api/health', base), { signal: AbortSignal.timeout(PATIENCE_MS) })
    if (!health.ok || !health.headers.get('content-type')?.includes('json')) return null
    if ((await health.json()).status !== 'ok') return null
    const { models } = await (await fetch(new URL('api/models', base))).json()
    const found = (models as { name: string; voices: string[] }[]).find(({ name }) => name === meta.name)
    const names = meta.kit.voices.map(({ name }) => name)
    return found && found.voices.join() === names.join() ? new ServerEngine(meta, base) : null
  } catch {
    return null
  }
}

export class ServerEngine implements Engine {
  readonly ready = Promise.resolve()

  constructor(private readonly meta: Meta, private readonly base: string) {}

  async continue(options: ContinueOptions, onBar: (bar: number, part: Part) => void, signal?: AbortSignal): Promise<void> {
    const { song, bars } = options
    const path = song.hits.length ? 'api/continue/stream' : 'api/generate/stream'
    const heard = song.hits.length ? { groove: this.groove(song, song) } : { tempo_bpm: song.tempo, grid: song.grid }
    const response = await this.post(path, { ...this.options(options), ...heard, bars }, signal)
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    let isDone = false
    for (;;) {
      const { value, done } = await reader.read()
      if (done) break
      const lines = (rest + value).split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        if (!line.trim()) continue
        const said = JSON.parse(line)
        if (said.error) throw new Error(said.error)
        if (said.done) isDone = true
        else onBar(said.bar, this.part(said.groove))
      }
    }
    if (!isDone) throw new Error('the server stopped before the end')
  }

  async infill(options: InfillOptions, _onProgress?: (share: number) => void, signal?: AbortSignal): Promise<Filled> {
    const { song, start, known } = options
    const voices = this.meta.num_drums
    const cut = (from: number, to?: number): Part => ({
      hits: song.hits.slice(from * voices, to && to * voices),
      velocity: song.velocity.slice(from * voices, to && to * voices),
      offset: song.offset.slice(from * voices, to && to * voices),
      openness: song.openness.slice(from * voices, to && to * voices),
      strokes: cellsIn(song.strokes, from * voices, to === undefined ? Infinity : to * voices),
    })
    const body = {
      ...this.options(options),
      groove: this.groove(cut(start), song),
      known: this.rows(known),
      ...(options.some ? { some: this.rows(options.some) } : {}),
      context: start ? this.groove(cut(0, start), song) : null,
      particles: options.particles,
      ...(options.horizonBars === null ? {} : { horizon_bars: options.horizonBars }),
    }
    const found = await (await this.post('api/infill', body, signal)).json()
    return { part: this.part(found.groove), smallest: found.effective_sample_size.smallest }
  }

  private options({ seed, temperature, topP, bias, guidance, asked }: ContinueOptions | InfillOptions): Record<string, unknown> {
    const names = this.meta.kit.voices.map(({ name }) => name)
    return {
      model: this.meta.name,
      seed,
      temperature,
      top_p: topP,
      bias: Object.fromEntries((bias ?? []).map((value, v) => [names[v], value])),
      guidance,
      plan: this.plan(asked),
      expression: true,
    }
  }

  /** A plan bar by bar, also where nothing is asked: without one the server tells the model the tempo. */
  private plan(asked: Asked | null): Record<string, unknown> | null {
    if (!this.meta.labels) return null
    const [kinds, kept] = [this.meta.kinds.length, this.meta.numbers.length]
    const { labels, numbers } = asked ?? { labels: Array(kinds).fill(0), numbers: Array(kept).fill(NaN) }
    const bars = labels.length / kinds
    const of = <T>(all: T[], size: number) => Array.from({ length: bars }, (_, bar) => all.slice(bar * size, (bar + 1) * size))
    return { labels: of(labels, kinds), numbers: of(numbers.map((value) => (Number.isNaN(value) ? null : value)), kept) }
  }

  /** Rows of voices, as the server has them. */
  private rows(cells: ArrayLike<number>): number[][] {
    const voices = this.meta.num_drums
    return Array.from({ length: voices }, (_, v) => Array.from({ length: cells.length / voices }, (_, step) => cells[step * voices + v]))
  }

  private groove(part: Part, { tempo, grid }: HeardSong): Groove {
    const voices = this.meta.num_drums
    const orNull = (value: number) => (Number.isNaN(value) ? null : value)
    const isKnown = part.openness.some((value) => !Number.isNaN(value))
    return {
      hits: this.rows(part.hits), velocity: this.rows(part.velocity), offset: this.rows(part.offset), tempo_bpm: tempo, grid,
      openness: isKnown ? this.rows(part.openness).map((row) => row.map(orNull)) : null,
      strokes: [...part.strokes].flatMap(([cell, own]) => own.map(({ offset, velocity, openness }) => (
        { step: Math.floor(cell / voices), voice: cell % voices, offset, velocity, openness: orNull(openness) }
      ))),
    }
  }

  private part({ hits, velocity, offset, openness, strokes }: Groove): Part {
    const voices = this.meta.num_drums
    const steps = hits[0].length
    const byCell = new Map<number, Stroke[]>()
    for (const { step, voice, ...stroke } of strokes) {
      const cell = step * voices + voice
      byCell.set(cell, [...(byCell.get(cell) ?? []), { ...stroke, openness: stroke.openness ?? NaN }])
    }
    const turned = <T extends Uint8Array | Float32Array>(all: T, rows: (number | null)[][]) => {
      rows.forEach((row, v) => row.forEach((value, step) => { all[step * voices + v] = value ?? NaN }))
      return all
    }
    return {
      hits: turned(new Uint8Array(steps * voices), hits),
      velocity: turned(new Float32Array(steps * voices), velocity),
      offset: turned(new Float32Array(steps * voices), offset),
      openness: openness ? turned(new Float32Array(steps * voices), openness) : new Float32Array(steps * voices).fill(NaN),
      strokes: byCell,
    }
  }

  private async post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(new URL(path, this.base), {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal,
    })
    if (response.ok) return response
    const said = await response.json().catch(() => null)
    throw new Error(`The server: ${said?.error ?? response.statusText}`)
  }
}
