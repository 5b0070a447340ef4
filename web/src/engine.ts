/** The model in the page: a client of its thread. */

import type { Answer, ContinueOptions, Engine, Filled, HeardSong, InfillOptions, Request } from './protocol'
import type { Part } from './song'

/** The answer is no longer wanted. */
export class Stopped extends Error {}

/** It is no longer wanted because another song stands there. */
export class Replaced extends Stopped {}

interface Waiting {
  resolve: (answer: Answer) => void
  reject: (error: Error) => void
  onAnswer: (answer: Answer) => void
}

export class WorkerEngine implements Engine {
  readonly ready: Promise<void>
  private readonly waiting = new Map<number, Waiting>()
  private next = 1
  private hearing: AbortController | null = null

  constructor(private readonly worker: Worker, base: string) {
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.take(data)
    worker.onerror = (event) => this.fail(event.message || 'the model cannot be started')
    this.ready = this.ask({ kind: 'load', base }).then(() => undefined)
    this.ready.catch(() => undefined)
  }

  async continue(options: ContinueOptions, onBar: (bar: number, part: Part) => void, signal?: AbortSignal): Promise<void> {
    await this.ask({ kind: 'continue', ...options }, signal, (answer) => {
      if (answer.kind === 'bar') onBar(answer.bar, answer.part)
    })
  }

  async infill(options: InfillOptions, onProgress?: (share: number) => void, signal?: AbortSignal): Promise<Filled> {
    const answer = await this.ask({ kind: 'infill', ...options }, signal, (answer) => {
      if (answer.kind === 'progress') onProgress?.(answer.share)
    })
    if (answer.kind !== 'filled') throw new Error('the model returned nothing')
    return { part: answer.part, smallest: answer.smallest }
  }

  /** What was heard when something else is asked stays heard. */
  hear(song: HeardSong): void {
    this.hearing?.abort()
    const { signal } = (this.hearing = new AbortController())
    this.ask({ kind: 'hear', song }, signal).catch(() => undefined)
  }

  private ask(
    request: { kind: 'hear'; song: HeardSong } | { kind: 'load'; base: string } | ({ kind: 'continue' } & ContinueOptions) | ({ kind: 'infill' } & InfillOptions),
    signal?: AbortSignal, onAnswer: (answer: Answer) => void = () => undefined,
  ): Promise<Answer> {
    if (request.kind !== 'hear') this.hearing?.abort()
    const id = this.next++
    return new Promise((resolve, reject) => {
      if (signal?.aborted) { reject(new Stopped()); return }
      this.waiting.set(id, { resolve, reject, onAnswer })
      this.worker.postMessage({ id, ...request } as Request)
      signal?.addEventListener('abort', () => {
        if (!this.waiting.delete(id)) return // what is on its way is not taken any more
        this.worker.postMessage({ id, kind: 'cancel' } as Request)
        reject(new Stopped())
      }, { once: true })
    })
  }

  private take(answer: Answer): void {
    const waiting = this.waiting.get(answer.id)
    if (!waiting) return
    waiting.onAnswer(answer)
    if (answer.kind === 'progress' || answer.kind === 'bar') return
    this.waiting.delete(answer.id)
    if (answer.kind === 'cancelled') waiting.reject(new Stopped())
    else if (answer.kind === 'error') waiting.reject(new Error(answer.message))
    else waiting.resolve(answer)
  }

  private fail(message: string): void {
    for (const { reject } of this.waiting.values()) reject(new Error(message))
    this.waiting.clear()
  }
}
