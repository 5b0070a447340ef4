/** Drum notation drawn by VexFlow. The page loads this file when notation is first looked at. */

import {
  Articulation, Beam, Dot, Formatter, GraceNote, GraceNoteGroup, Metrics, MetricsDefaults, ModifierPosition, Parenthesis, Renderer, Stave, StaveNote, Stem, Tuplet, Voice, VoiceMode,
} from 'vexflow/core'
import type { Group, NotatedBar } from './scoring'

const FONT = 'Hypermeter Notes'
/** Signs of the kinds that are needed, so that the browser loads the font. */
const SIGNS = '\uE0A4\uE069'
const HEIGHT = 184
const TOP = 40
/** Room of the clef and the metre before the first bar. */
const HEAD_WIDTH = 64
/** Where rests of hands, and of feet, stand. */
const REST_OF_HANDS = 'd/5'
const REST_OF_FEET = 'g/4'

export interface Row {
  bars: NotatedBar[]
  /** Number of the first bar. */
  number: number
  beats: number
  unit: number
  /** Of each voice. */
  places: string[]
}

/** Loads the font. @throws Error where it cannot be loaded */
export async function ready(): Promise<void> {
  const found = await document.fonts.load(`30px "${FONT}"`, SIGNS)
  if (!found.length) throw new Error('the font of the notes cannot be loaded')
  MetricsDefaults.fontFamily = `"${FONT}"`
  Metrics.clear()
}

/** Draws a row of bars into an element, in the colour of its text. */
export function draw(into: HTMLDivElement, { bars, number, beats, unit, places }: Row, width: number): void {
  const renderer = new Renderer(into, Renderer.Backends.SVG)
  renderer.resize(width, HEIGHT)
  const context = renderer.getContext()
  context.setFillStyle('currentColor')
  context.setStrokeStyle('currentColor')
  const size = (width - HEAD_WIDTH - 2) / bars.length
  bars.forEach((bar, place) => {
    const [x, extra] = place ? [HEAD_WIDTH + place * size, 0] : [0, HEAD_WIDTH]
    const stave = new Stave(x, TOP, size + extra)
    stave.setStyle({ fillStyle: 'currentColor', strokeStyle: 'currentColor' })
    if (!place) stave.addClef('percussion')
    if (!place && number === 1) stave.addTimeSignature(`${beats}/${unit}`)
    stave.setContext(context).draw()
    const parts = [written(bar.hands, Stem.UP, REST_OF_HANDS, places), written(bar.feet, Stem.DOWN, REST_OF_FEET, places)]
    const voices = parts.filter(({ notes }) => notes.length).map(({ notes }) => (
      new Voice({ numBeats: beats, beatValue: unit }).setMode(VoiceMode.SOFT).addTickables(notes)
    ))
    if (!voices.length) voices.push(new Voice({ numBeats: beats, beatValue: unit }).setMode(VoiceMode.SOFT).addTickables([new StaveNote({ keys: ['d/5'], duration: '1r', alignCenter: true })]))
    const room = stave.getNoteEndX() - stave.getNoteStartX() - 16
    new Formatter().joinVoices(voices).format(voices, room)
    for (const voice of voices) voice.draw(context, stave)
    for (const { beams, tuplets } of parts) for (const drawn of [...beams, ...tuplets]) drawn.setContext(context).draw()
  })
}

interface Written {
  notes: StaveNote[]
  beams: Beam[]
  tuplets: Tuplet[]
}

function written(groups: Group[] | null, stem: number, restAt: string, places: string[]): Written {
  const found: Written = { notes: [], beams: [], tuplets: [] }
  for (const { notes, tuplet } of groups ?? []) {
    const made = notes.map(({ voices, value, isDotted, accents, graces }) => {
      const duration = `${value}${isDotted ? 'd' : ''}${voices.length ? '' : 'r'}`
      const keys = voices.length ? voices.map((voice) => places[voice]) : [restAt]
      const note = new StaveNote({ keys, duration, stemDirection: stem, clef: 'percussion', autoStem: false })
      if (isDotted) Dot.buildAndAttach([note], { all: true })
      if (accents.includes('hard')) {
        note.addModifier(new Articulation('a>').setPosition(stem === Stem.UP ? ModifierPosition.ABOVE : ModifierPosition.BELOW))
      }
      accents.forEach((accent, head) => {
        if (accent !== 'soft' || keys[head].includes('/x')) return // cymbals are soft all the time
        note.addModifier(new Parenthesis(ModifierPosition.LEFT), head).addModifier(new Parenthesis(ModifierPosition.RIGHT), head)
      })
      if (graces) {
        const small = Array.from({ length: graces }, () => new GraceNote({ keys: [keys[0]], duration: graces > 1 ? '16' : '8', slash: graces === 1, stemDirection: Stem.UP }))
        const group = new GraceNoteGroup(small, false)
        note.addModifier(graces > 1 ? group.beamNotes() : group)
      }
      return note
    })
    const short = made.filter((_, place) => notes[place].value > 4)
    if (short.length > 1 && short.some((note) => !note.isRest())) found.beams.push(...Beam.generateBeams(made, { stemDirection: stem, maintainStemDirections: true, beamRests: false }))
    if (tuplet) found.tuplets.push(new Tuplet(made, { numNotes: tuplet[0], notesOccupied: tuplet[1], ratioed: false, bracketed: true, location: stem }))
    found.notes.push(...made)
  }
  return found
}
