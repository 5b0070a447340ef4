/** A message that reached a device: when, the time that was asked for, and how far ahead that was. */
export interface Sent {
  data: number[]
  at: number
  asked: number
  ahead: number
}

export interface FakePort extends EventTarget {
  id: string
  name: string
  state: 'connected' | 'disconnected'
  connection: 'open' | 'closed' | 'pending'
  onstatechange: ((event: Event & { port: FakePort }) => void) | null
  open(): Promise<FakePort>
  close(): Promise<FakePort>
}

export interface FakeInput extends FakePort {
  onmidimessage: ((event: Event & { data: Uint8Array }) => void) | null
  arrive(bytes: number[], at: number): void
}

export interface FakeOutput extends FakePort {
  sent: Sent[]
  waiting: unknown[]
  send(bytes: number[], timestamp?: number): void
  clear?(): void
}

export interface FakeAccess extends EventTarget {
  inputs: Map<string, FakeInput>
  outputs: Map<string, FakeOutput>
  onstatechange: ((event: Event & { port: FakePort }) => void) | null
}

export class FakeMidi {
  constructor(options?: { answer?: string; canClear?: boolean })
  requests: number
  answer: string
  taken: Set<string>
  request: () => Promise<FakeAccess>
  plug(type: 'input', name: string, manufacturer?: string, id?: string): FakeInput
  plug(type: 'output', name: string, manufacturer?: string, id?: string): FakeOutput
  unplug(port: FakePort): void
  tick(input: FakeInput, tempo: number, from?: number): void
  quiet(): void
}
