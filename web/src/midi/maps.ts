/** Maps: the instrument that each pitch of a device plays, and the map that fits a file: `hypermeter.core.kit_choice`. */

import record from '../maps.json'
import type { MidiVoice } from './types'

interface Instrument { gm: number[]; share: number }
interface PitchMap { name: string; title: string; hints: string[]; pitches: [number, string][] }

/** Probability of a pitch that a map does not have. */
const UNKNOWN = 1e-6
/** Nats by which a map has to fit better than General MIDI, and that it gains by a word of its in a name. */
const NEED = 4
const HINT = 8
/** Instruments of which drumming has at least one. */
const CORE = ['kick', 'kick_2', 'snare', 'snare_rimshot', 'snare_electric']

const INSTRUMENTS = record.instruments as Record<string, Instrument>
const MAPS = record.maps as unknown as PitchMap[]

/** Names and titles of all maps; the first is General MIDI. */
export const MAP_TITLES: [string, string][] = MAPS.map(({ name, title }) => [name, title])

const mapNamed = (name: string) => MAPS.find((map) => map.name === name) ?? MAPS[0]

/** How a voice's instrument is played follows a slash, which does not count here. */
const instrumentOf = (name: string) => name.split('/')[0]

/** The instrument of a pitch, for people. */
export function pitchName(map: string, pitch: number): string {
  const name = mapNamed(map).pitches.find(([key]) => key === pitch)?.[1] ?? 'unknown'
  return name.replaceAll('_', ' ')
}

export const titleOf = (map: string) => mapNamed(map).title

/**
 * The map that explains pitches best; General MIDI unless another is better by far.
 *
 * @param counts hits of each pitch
 * @param names of tracks
 */
export function bestMap(counts: Map<number, number>, names: string[]): string {
  const roots = [...counts].map(([pitch, count]): [number, number] => [pitch, Math.sqrt(count)])
  const total = roots.reduce((sum, [, root]) => sum + root, 0)
  const text = names.join('\n').toLowerCase()
  let [best, bestScore] = [MAPS[0], -Infinity]
  for (const map of MAPS) {
    const logs = logProbability(map)
    let score = map === MAPS[0] ? NEED : 0
    if (map.hints.some((hint) => hasWord(text, hint))) score += HINT
    for (const [pitch, root] of roots) score += ((root * counts.size) / Math.max(total, 1)) * (logs.get(pitch) ?? Math.log(UNKNOWN))
    if (score > bestScore + 1e-9) [best, bestScore] = [map, score]
  }
  const isPlayed = best.pitches.some(([pitch, name]) => counts.has(pitch) && CORE.includes(instrumentOf(name)))
  return isPlayed ? best.name : MAPS[0].name
}

function hasWord(text: string, word: string): boolean {
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`(?<![a-z0-9])${escaped}(?![a-z0-9])`).test(text)
}

function logProbability(map: PitchMap): Map<number, number> {
  const byInstrument = new Map<string, number[]>()
  for (const [pitch, name] of map.pitches) byInstrument.set(instrumentOf(name), [...(byInstrument.get(instrumentOf(name)) ?? []), pitch])
  const played = (name: string) => Math.sqrt(INSTRUMENTS[name].share)
  const total = [...byInstrument.keys()].reduce((sum, name) => sum + played(name), 0)
  const logs = new Map<number, number>()
  for (const [name, pitches] of byInstrument) {
    const harmonic = pitches.reduce((sum, _, i) => sum + 1 / (i + 1), 0)
    pitches.forEach((pitch, i) => logs.set(pitch, Math.log(played(name) / total / (i + 1) / harmonic)))
  }
  return logs
}

/** The column of the voice that reads each pitch of a map: `with_map` of Python. Voices are those of General MIDI. */
export function columnsOf(voices: MidiVoice[], mapName: string): Map<number, number> {
  const own = new Map(voices.flatMap((voice, v) => voice.pitches.map((pitch): [number, number] => [pitch, v])))
  if (mapName === MAPS[0].name) return own
  const { pitches } = mapNamed(mapName)
  const columns = new Map<number, number>()
  for (const [pitch, name] of pitches) {
    const gm = INSTRUMENTS[instrumentOf(name)].gm.find((candidate) => own.has(candidate))
    if (gm !== undefined) columns.set(pitch, own.get(gm)!)
  }
  const taken = new Set(pitches.map(([pitch]) => pitch))
  const unused = Array.from({ length: 128 }, (_, pitch) => pitch).filter((pitch) => !taken.has(pitch) && !own.has(pitch))
  const mapped = new Set(columns.values())
  voices.forEach((voice, v) => { // a voice that the map lacks keeps its free pitches, or has another
    if (mapped.has(v)) return
    const free = voice.pitches.filter((pitch) => !taken.has(pitch))
    for (const pitch of free.length ? free : unused.splice(-1)) columns.set(pitch, v)
  })
  return columns
}

/** The pitch that writes each voice with a map: `with_map` of Python. */
export function pitchesOf(voices: MidiVoice[], mapName: string): number[] {
  const columns = columnsOf(voices, mapName)
  const { pitches } = mapNamed(mapName)
  const rankOf = (voice: MidiVoice, pitch: number) => {
    const name = pitches.find(([key]) => key === pitch)?.[1]
    const gm = name && INSTRUMENTS[instrumentOf(name)].gm.find((candidate) => voices.some((each) => each.pitches.includes(candidate)))
    return (gm || pitch) === voice.write ? -1 : gm ? voice.pitches.indexOf(gm) : voice.pitches.indexOf(pitch)
  }
  return voices.map((voice, v) => {
    if (mapName === MAPS[0].name) return voice.write
    const own = [...columns].filter(([, column]) => column === v).map(([pitch]) => pitch)
    return own.sort((a, b) => rankOf(voice, a) - rankOf(voice, b))[0]
  })
}
