/** The panel of pads, machines and clock. */

import { byId, element, setAttribute, setPressed, setText } from '../dom'
import { MAP_TITLES } from '../midi/maps'
import type { Connections } from './connections'
import { FIRST, type Kept } from './kept'
import { controlNamed, controlOf, nameOf, titleOf } from './learning'
import { areSame, type Device, deviceOf, type Kind } from './ports'

const NONE = 'none'
const ALL = 'all'
const CHANNELS = 16
/** Of the settings, those that are buttons. */
const SWITCHES: [string, 'isHeard' | 'isQuantised' | 'isOverdub' | 'isClicking' | 'sendsClock'][] = [
  ['hear-pads', 'isHeard'], ['quantise', 'isQuantised'], ['overdub', 'isOverdub'], ['metronome', 'isClicking'], ['send-clock', 'sendsClock'],
]

export class Panel {
  private readonly section = byId('midi')
  private listed = ''

  constructor(private readonly connections: Connections, private readonly isPlaying: () => boolean) {
    const { section } = this
    const click = (id: string, action: (event: MouseEvent) => unknown) => byId(id).addEventListener('click', (event) => void action(event))
    click('connections', () => {
      section.hidden = !section.hidden
      this.show()
      if (!section.hidden) section.scrollIntoView({ block: 'nearest' })
      else this.learn(false)
    })
    click('midi-connect', () => connections.connect())
    click('record', () => connections.record())
    click('tap', ({ timeStamp }) => connections.tap(timeStamp))
    click('earlier-ms', () => connections.nudge(-1))
    click('later-ms', () => connections.nudge(1))
    for (const [id, name] of SWITCHES) click(id, () => connections.set({ [name]: !connections.kept[name] }))
    click('learn', () => this.learn(!connections.isLearning))
    this.choice('pads-from', (value) => ({ pads: value === ALL ? true : deviceIn(value) }))
    this.choice('out-to', (value) => ({ out: deviceIn(value) }))
    this.choice('clock-from', (value) => ({ clockFrom: deviceIn(value) }))
    this.choice('pads-map', (padsMap) => ({ padsMap }))
    this.choice('out-map', (outMap) => ({ outMap }))
    this.choice('out-channel', (value) => ({ channel: Number(value) }))
    this.choice('count-in', (value) => ({ countIn: Number(value) }))
    this.choice('pads-delay', (value) => ({ delayMs: Math.max(0, Math.min(250, Math.round(Number(value) || 0))) }))
    for (const id of ['pads-map', 'out-map']) byId(id).append(...MAP_TITLES.map(([value, title]) => element('option', { value }, title)))
    byId('out-channel').append(...Array.from({ length: CHANNELS }, (_, i) => element('option', { value: String(i + 1) }, String(i + 1))))
    this.listenToLearn()
  }

  private choice(id: string, change: (value: string) => Partial<Kept>): void {
    const node = byId<HTMLSelectElement | HTMLInputElement>(id)
    node.addEventListener('change', () => this.connections.set(change(node.value)))
  }

  // ---------------------------------------------------------------- learning

  /** While it learns, a click or the focus names the control that the next knob is for, and does nothing else. */
  private listenToLearn(): void {
    const { connections } = this
    const name = (event: Event) => {
      const control = connections.isLearning ? controlOf(event.target) : null
      if (!control) return false
      connections.target = nameOf(control)
      this.show()
      return true
    }
    document.addEventListener('focusin', (event) => void name(event))
    for (const kind of ['pointerdown', 'mousedown', 'click', 'keydown'] as const) {
      document.addEventListener(kind, (event) => {
        if (!connections.isLearning || !event.isTrusted) return // a learnt knob presses by itself
        const key = event instanceof KeyboardEvent ? event.key : null
        if (key === 'Escape') this.learn(false)
        else if ((key !== null && key !== 'Enter' && key !== ' ') || !name(event)) return
        event.preventDefault()
        event.stopPropagation()
      }, true)
    }
  }

  private learn(isLearning: boolean): void {
    const { connections } = this
    connections.isLearning = isLearning
    connections.target = null
    this.show()
  }

  // ---------------------------------------------------------------- what is shown

  show(): void {
    const { connections, section } = this
    const { kept, ports, recorder, followed, isLearning } = connections
    const isOpen = !section.hidden
    setPressed(byId('connections'), isOpen)
    setAttribute(byId('connections'), 'aria-expanded', String(isOpen))
    document.body.classList.toggle('learning', isLearning)
    for (const marked of document.querySelectorAll('.learns')) marked.classList.remove('learns')
    byId<HTMLInputElement>('tempo').disabled = !!followed
    if (!isOpen) return
    if (connections.target) controlNamed(connections.target)?.classList.add('learns')
    setText(byId('midi-says'), ports.trouble ?? (ports.isConnected ? this.found : ports.isAsking ? 'The browser asks whether this page may use MIDI …' : 'Pads, drum machines and other programs are reached by MIDI, once the browser lets the page.'))
    const button = byId<HTMLButtonElement>('midi-connect')
    button.hidden = ports.isConnected
    button.disabled = ports.isAsking
    this.listPorts('pads-from', 'input', kept.pads, [[NONE, 'none'], [ALL, 'all that are there']])
    this.listPorts('out-to', 'output', kept.out, [[NONE, 'none']])
    this.listPorts('clock-from', 'input', kept.clockFrom, [[NONE, 'none: the tempo is the page’s']])
    for (const [id, name] of SWITCHES) setPressed(byId(id), kept[name])
    byId<HTMLButtonElement>('send-clock').disabled = !!followed
    setPressed(byId('record'), recorder.isOn)
    setText(byId('record'), recorder.isOn ? (this.isPlaying() || followed ? 'Recording' : 'Starting …') : 'Record')
    this.value('pads-map', kept.padsMap, FIRST.padsMap)
    this.value('out-map', kept.outMap, FIRST.outMap)
    this.value('out-channel', String(kept.channel))
    this.value('count-in', String(kept.countIn))
    this.value('pads-delay', String(kept.delayMs))
    setText(byId('clock-says'), connections.clockLine || 'Tap the tempo, or follow the clock of a machine: its tempo, start and stop.')
    setText(byId('late-out'), followed ? `${kept.lateMs > 0 ? '+' : ''}${kept.lateMs} ms` : '')
    setPressed(byId('learn'), isLearning)
    setText(byId('learn-says'), !isLearning ? 'Turn Learn on, choose a control of the page, and move a knob or hit a pad.' : connections.target ? `Now move the knob, or hit the pad, for: ${titleOf(connections.target)}` : 'Click a button, slider or menu of the page.')
    this.listLearnt()
  }

  private get found(): string {
    const { ports } = this.connections
    const names = (kind: Kind) => ports.of(kind).map((port) => deviceOf(port).name).join(', ') || 'nothing'
    return `In: ${names('input')}. Out: ${names('output')}.`
  }

  private listPorts(id: string, kind: Kind, chosen: Device | true | null, first: [string, string][]): void {
    const devices: Device[] = this.connections.ports.of(kind).map(deviceOf).filter((device, place, all) => all.findIndex((other) => areSame(device, other)) === place)
    const options: [string, string][] = [...first, ...devices.map((device): [string, string] => [JSON.stringify(device), device.name])]
    const value = chosen === true ? ALL : chosen ? JSON.stringify(chosen) : NONE
    if (chosen && chosen !== true && !devices.some((device) => areSame(device, chosen))) options.push([value, `${chosen.name} (not there)`])
    const select = byId<HTMLSelectElement>(id)
    const shown = [...select.options].map((option) => `${option.value} ${option.text}`).join()
    if (shown !== options.map((option) => option.join(' ')).join()) {
      select.replaceChildren(...options.map(([own, text]) => element('option', { value: own }, text)))
    }
    // One device may be written with its fields in another order than it was kept.
    select.selectedIndex = Math.max(0, options.findIndex(([own]) => own === value || (own.startsWith('{') && areSame(deviceIn(own), deviceIn(value)))))
  }

  private listLearnt(): void {
    const { connections } = this
    const listed = JSON.stringify(connections.kept.learnt)
    if (listed === this.listed) return
    this.listed = listed
    byId('learnt').replaceChildren(...Object.entries(connections.kept.learnt).flatMap(([device, learnt]) => Object.entries(learnt).map(([key, name]) => {
      const title = titleOf(name)
      const where = `${key} of ${device.slice(device.indexOf('/') + 1)}`
      const gone = element('button', { class: 'quiet', 'aria-label': `Forget ${where} for ${title}` }, 'Forget')
      gone.addEventListener('click', () => connections.forget(device, key))
      return element('li', {}, element('span', {}, element('b', {}, title), ` ${where}`), gone)
    })))
  }

  /** Not while someone writes in it; the first choice where there is no such one. */
  private value(id: string, value: string, first = value): void {
    const node = byId<HTMLInputElement | HTMLSelectElement>(id)
    if (node.value === value || document.activeElement === node) return
    node.value = value
    if (node.value !== value) node.value = first
  }
}

function deviceIn(value: string): Device | null {
  return value.startsWith('{') ? (JSON.parse(value) as Device) : null
}
