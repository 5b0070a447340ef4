/** The MIDI ports that the browser gives, and why it gives none. */

/** A device, as it is told apart from others when it is back. */
export interface Device {
  name: string
  manufacturer: string
}

type Port = MIDIInput | MIDIOutput
export type Kind = 'input' | 'output'

/** Milliseconds until it is said that the browser has not answered. */
const PATIENCE_MS = 4000

export const deviceOf = (port: Port): Device => ({ name: port.name ?? 'without a name', manufacturer: port.manufacturer ?? '' })

export const areSame = (one: Device | null, other: Device | null) => one?.name === other?.name && one?.manufacturer === other?.manufacturer

/** Of devices in the settings. */
export const keyOfDevice = ({ name, manufacturer }: Device) => `${manufacturer}/${name}`

/** Why there is no MIDI, for people; null where the browser has it. */
export function lackOfMidi(): string | null {
  if ('requestMIDIAccess' in navigator) return null
  if (!isSecureContext) return 'Browsers give MIDI only to pages over https, or from this machine (localhost): open the page there'
  return 'This browser has no MIDI for pages (Web MIDI): Chrome, Edge, Opera and Firefox have it, Safari has none'
}

/** What an error of the browser means. */
function meaningOf({ name, message }: DOMException): string {
  if (name === 'SecurityError' || name === 'NotAllowedError') {
    return 'The browser does not let this page use MIDI: allow it in its settings for this page, beside the address, and press Connect again'
  }
  if (name === 'NotSupportedError') return 'This machine has no MIDI that the browser can use'
  return `The MIDI of this machine cannot be opened (${message || name}): close other programs that use it, and press Connect again`
}

export class Ports {
  /** Why there are none, or null. */
  trouble: string | null = lackOfMidi()
  isAsking = false
  private access: MIDIAccess | null = null
  private readonly known = new Map<string, string>()

  /** @param onChange is told of each change, and, where one came or went, which */
  constructor(private readonly onChange: (changed?: { port: Port; isThere: boolean }) => void) {}

  get isConnected(): boolean {
    return this.access !== null
  }

  /** Whether the browser gives MIDI without asking. */
  async isAllowed(): Promise<boolean> {
    if (lackOfMidi()) return false
    try {
      return (await navigator.permissions.query({ name: 'midi' as PermissionName })).state === 'granted'
    } catch {
      return false // some browsers do not tell
    }
  }

  /** Asks the browser. */
  async connect(): Promise<void> {
    if (this.access || this.isAsking || lackOfMidi()) return
    this.isAsking = true
    this.trouble = null
    const patience = setTimeout(() => {
      this.trouble = 'The browser has not answered yet: look for its question, beside the address'
      this.onChange()
    }, PATIENCE_MS)
    this.onChange()
    try {
      const access = await navigator.requestMIDIAccess()
      this.access = access
      this.trouble = null
      for (const port of this.all) this.known.set(port.id, port.state)
      access.onstatechange = ({ port }) => this.changed(port as Port)
    } catch (error) {
      this.trouble = meaningOf(error as DOMException)
    } finally {
      clearTimeout(patience)
      this.isAsking = false
      this.onChange()
    }
  }

  private get all(): Port[] {
    return this.access ? [...this.access.inputs.values(), ...this.access.outputs.values()] : []
  }

  /** Events also come where a port is opened or closed. */
  private changed(port: Port): void {
    const was = this.known.get(port.id) ?? 'disconnected'
    this.known.set(port.id, port.state)
    this.onChange(was === port.state ? undefined : { port, isThere: port.state === 'connected' })
  }

  /** Those that are there. */
  of(kind: 'input'): MIDIInput[]
  of(kind: 'output'): MIDIOutput[]
  of(kind: Kind): Port[]
  of(kind: Kind): Port[] {
    return this.all.filter((port) => port.type === kind && port.state === 'connected')
  }
}
