/**
 * A stand-in for the browser's MIDI that follows the Web MIDI specification in what concerns time and connections.
 *
 * - Requests, open and close are promises that never resolve at once; events come after the change that they tell.
 * - A message is stamped with the time at which it arrived, in the clock of `performance.now()`, however late it is told.
 * - `send` takes whole messages without running status, opens a closed port, keeps each until its timestamp, sends at once
 *   what has none or a past one, and those of one time in the order of the calls; `clear` drops what waits.
 * - A port that is unplugged while open is pending, and open again, by itself, once it is plugged in.
 *
 * For tests, `FakeMidi` plugs devices in and out, plays on inputs, and keeps what outputs sent, with its time.
 * No imports, so that a browser can be given the text of this file.
 */

const LENGTHS = { 0x80: 3, 0x90: 3, 0xa0: 3, 0xb0: 3, 0xc0: 2, 0xd0: 2, 0xe0: 3 }
const SYSTEM_LENGTHS = { 0xf1: 2, 0xf2: 3, 0xf3: 2, 0xf6: 1, 0xf8: 1, 0xfa: 1, 0xfb: 1, 0xfc: 1, 0xfe: 1, 0xff: 1 }

/** Lengths of the messages that bytes are made of. */
function parts(bytes) {
  const found = []
  for (let at = 0; at < bytes.length; ) {
    const status = bytes[at]
    let length = SYSTEM_LENGTHS[status] ?? LENGTHS[status & 0xf0]
    if (status === 0xf0) length = bytes.indexOf(0xf7, at) + 1 - at
    const rest = bytes.slice(at + 1, at + length)
    const isWhole = status >= 0x80 && length > 0 && at + length <= bytes.length
    if (!isWhole || rest.some((byte, place) => byte >= 0x80 && !(status === 0xf0 && place === rest.length - 1))) {
      throw new TypeError(`not a valid MIDI message: ${bytes}`)
    }
    found.push(bytes.slice(at, at + length))
    at += length
  }
  return found
}

function withHandler(target, kind) {
  let handler = null
  Object.defineProperty(target, `on${kind}`, {
    get: () => handler,
    set: (value) => {
      if (handler) target.removeEventListener(kind, handler)
      handler = value
      if (handler) target.addEventListener(kind, handler)
      if (handler && kind === 'midimessage') target.open().catch(() => undefined)
    },
  })
}

class FakePort extends EventTarget {
  constructor(fake, type, { name, manufacturer = '', id }) {
    super()
    Object.assign(this, { fake, type, name, manufacturer, id, version: '', state: 'connected', connection: 'closed' })
    withHandler(this, 'statechange')
  }

  /** Tells the port and all that have access, after the change. */
  tell() {
    for (const target of [this, ...this.fake.accesses]) {
      const event = new Event('statechange')
      Object.defineProperty(event, 'port', { value: this })
      target.dispatchEvent(event)
    }
  }

  async open() {
    await null
    if (this.connection !== 'closed') return this
    if (this.state === 'disconnected') this.connection = 'pending'
    else if (this.fake.isTaken(this)) throw new DOMException('the device is in use', 'InvalidAccessError')
    else this.connection = 'open'
    this.tell()
    return this
  }

  async close() {
    await null
    if (this.connection === 'closed') return this
    this.connection = 'closed'
    this.closed()
    this.tell()
    return this
  }

  closed() {}
}

class FakeInput extends FakePort {
  constructor(...made) {
    super(...made)
    withHandler(this, 'midimessage')
  }

  /** A message that arrived at that time, in milliseconds, and is told now. */
  arrive(bytes, at) {
    if (this.connection !== 'open') return
    for (const data of parts([...bytes])) {
      const event = new Event('midimessage')
      Object.defineProperty(event, 'data', { value: Uint8Array.from(data) })
      Object.defineProperty(event, 'timeStamp', { value: at })
      this.dispatchEvent(event)
    }
  }
}

class FakeOutput extends FakePort {
  constructor(...made) {
    super(...made)
    this.waiting = []
    /** What reached the device: bytes and time, and by how much it was asked for ahead. */
    this.sent = []
    this.calls = 0
    if (!this.fake.canClear) this.clear = undefined
  }

  send(bytes, timestamp = 0) {
    const messages = parts([...bytes].map((byte) => byte & 255))
    if (messages.some(([status]) => status === 0xf0)) throw new DOMException('system exclusive is not enabled', 'InvalidAccessError')
    if (this.state === 'disconnected') throw new DOMException('the port is disconnected', 'InvalidStateError')
    if (this.connection === 'closed') this.open().catch(() => undefined)
    const now = performance.now()
    for (const data of messages) {
      const entry = { data, order: this.calls++, at: Math.max(timestamp, now), asked: timestamp, ahead: timestamp - now }
      if (timestamp <= now) this.deliver(entry)
      else {
        this.waiting.push(entry)
        entry.timer = setTimeout(() => this.deliverUntil(entry.at), Math.ceil(entry.at - now)) // never before it
      }
    }
  }

  deliverUntil(at) {
    const due = this.waiting.filter((entry) => entry.at <= at)
    this.waiting = this.waiting.filter((entry) => entry.at > at)
    for (const entry of due.sort((a, b) => a.at - b.at || a.order - b.order)) {
      clearTimeout(entry.timer)
      this.deliver(entry)
    }
  }

  deliver({ data, at, asked, ahead }) {
    const entry = { data, at, asked, ahead }
    this.sent.push(entry)
    this.onsent?.(entry)
  }

  clear() {
    for (const { timer } of this.waiting) clearTimeout(timer)
    this.waiting = []
  }

  closed() {
    this.clear?.()
  }
}

class FakeAccess extends EventTarget {
  constructor(fake) {
    super()
    this.sysexEnabled = false
    this.fake = fake
    withHandler(this, 'statechange')
  }

  get inputs() {
    return this.fake.mapOf('input')
  }

  get outputs() {
    return this.fake.mapOf('output')
  }
}

export class FakeMidi {
  /**
   * @param answer "grant", "pending" for a question that nobody answers, or the name of a DOMException
   * @param canClear whether outputs have `clear`, which not all browsers give them
   */
  constructor({ answer = 'grant', canClear = true } = {}) {
    Object.assign(this, { answer, canClear, accesses: [], ports: [], taken: new Set(), requests: 0 })
  }

  request = async () => {
    this.requests++
    await new Promise((resolve) => setTimeout(resolve, 1))
    if (this.answer === 'pending') return new Promise(() => undefined)
    if (this.answer !== 'grant') throw new DOMException('refused', this.answer)
    const access = new FakeAccess(this)
    this.accesses.push(access)
    return access
  }

  mapOf(type) {
    return new Map(this.ports.filter((port) => port.type === type).map((port) => [port.id, port]))
  }

  isTaken(port) {
    return this.taken.has(port.name)
  }

  /** A device that is new, or is back: the same port, if it has the same id. */
  plug(type, name, manufacturer = 'Maker', id = `${type} ${name}`) {
    const known = this.ports.find((port) => port.id === id && port.type === type)
    if (known) {
      known.state = 'connected'
      if (known.connection === 'pending') known.connection = this.isTaken(known) ? 'closed' : 'open'
      known.tell()
      return known
    }
    const port = new (type === 'input' ? FakeInput : FakeOutput)(this, type, { name, manufacturer, id })
    this.ports.push(port)
    port.tell()
    return port
  }

  unplug(port) {
    port.state = 'disconnected'
    if (port.connection === 'open') port.connection = 'pending'
    port.clear?.()
    port.tell()
  }

  /** Ticks of a clock on an input, each told at its time, until `quiet`. */
  tick(input, tempo, from = performance.now()) {
    const each = 60_000 / tempo / 24
    let number = 0
    const tell = () => {
      const at = from + number * each
      number++
      input.arrive([0xf8], at)
      this.ticking = setTimeout(tell, from + number * each - performance.now())
    }
    this.ticking = setTimeout(tell, from - performance.now())
  }

  quiet() {
    clearTimeout(this.ticking)
  }
}
