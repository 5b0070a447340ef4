/** Which notes of a MIDI file are its drums: the rules of `hypermeter.io.midi.drums`, which explains them. */

import { GM_DRUMS, type Note, type Setting } from './channels'
import { MidiError } from './types'

/** Words for drums, between what is no letter or digit; and names with such a word that are of other instruments. */
const NAMES = new RegExp(
  '(?<![\\p{L}\\p{N}_])(drums?|drum ?(kit|set|machine|s?tick)s?|perc|percussions?|batterie|bater[ií]a|schlagzeug|slagwerk|trummor'
  + '|perkusja|batteria|hi-?hats?|snares?|kick|cymbals?)(?![\\p{L}\\p{N}_])|ドラム|パーカッション|ударные|барабан|드럼|鼓', 'iu',
)
const NO_NAMES = /(?<![\p{L}\p{N}_])(steel|synth|melodic|taiko|bass) ?drums?|timpani|pedal steel/iu

const KICKS = [35, 36]
const SNARES = [37, 38, 39, 40]
/** Hi-hats and cymbals. */
const TIME = [22, 26, 42, 44, 46, 49, 51, 52, 53, 55, 57, 59]

const BACKBONE = [...KICKS, ...SNARES, ...TIME]
/** The backbone, toms, tambourine, cowbell and shakers. */
const KIT = [...BACKBONE, 41, 43, 45, 47, 48, 50, 54, 56, 58, 69, 70, 82]
/** Kick, snare, hi-hats and ride. */
const COMMON = [22, 26, 35, 36, 37, 38, 40, 42, 44, 46, 51, 53, 59]
/** Of the percussion of GM, GS and XG. */
const HIGHEST_PITCH = 87
/** Programs from 0 with one sound on all pitches: steel drums to reversed cymbals. */
const PITCHED_PERCUSSION = [112, 119]
/** Parts that a message lists. */
const LISTED_PARTS = 8

/** What the user names: a channel from 1, a track by its number from 1, or as text by its name or else its number. */
export interface PartOptions { channel?: number | null; track?: number | string | null }

/** The notes of one track on one channel, both from 1; of a pattern of format 2, whatever is in it. */
export interface Part { track: number; name: string; channel: number | null; notes: number | null }

/** Which notes are the drums, none if nothing looks like them; and what was chosen, to tell the user. */
export interface Choice { isDrums: boolean[]; line: string }

/** @throws MidiError a channel or track without notes */
export function chooseDrums(notes: Note[], settings: Setting[], names: string[], { channel, track }: PartOptions): Choice {
  const byMessages = settings.map(({ isDrums }) => isDrums)
  if (channel != null || track != null) {
    return { isDrums: namedBy(notes, byMessages, names, channel ?? null, track ?? null), line: '' }
  }
  if (byMessages.includes(true)) {
    const channels = channelsOf(notes.filter((_, i) => byMessages[i]))
    const isPlain = channels.length === 1 && channels[0] === GM_DRUMS
    return { isDrums: byMessages, line: isPlain ? '' : `drums are ${listed(channels)}, by GS, XG or GM2 messages of the file` }
  }
  const byName = byNames(notes, settings, names)
  if (byName.includes(true)) {
    const chosen = notes.filter((_, i) => byName[i])
    const tracks = [...new Set(chosen.map((note) => quoted(names[note.track])))].join(', ')
    return { isDrums: byName, line: `no drums on channel 10; drums are ${listed(channelsOf(chosen))}, by name: ${tracks}` }
  }
  const isKit = looksLikeDrums(notes, settings)
  const line = isKit ? `no drums on channel 10; all notes, of ${listed(channelsOf(notes))}, look like a drum kit` : ''
  return { isDrums: notes.map(() => isKit), line }
}

function namedBy(notes: Note[], byMessages: boolean[], names: string[], channel: number | null, track: number | string | null): boolean[] {
  let chosen = notes.map((note) => channel === null || note.channel === channel - 1)
  if (track !== null) {
    const tracks = tracksNamed(track, names)
    chosen = chosen.map((isDrums, i) => isDrums && tracks.has(notes[i].track))
    const byBoth = chosen.map((isDrums, i) => isDrums && byMessages[i])
    if (channel === null && byBoth.includes(true)) chosen = byBoth
  }
  if (!chosen.includes(true)) {
    const what = [channel === null ? [] : `channel ${channel}`, track === null ? [] : `track ${quoted(String(track))}`].flat().join(' of ')
    const parts = partsOf(notes, names)
    throw new MidiError(`no notes on ${what}; it has ${describeParts(parts)}`, 'part', parts)
  }
  return chosen
}

/** Notes of tracks that their names call drums, without pitched percussion, if half of these are low enough. */
function byNames(notes: Note[], settings: Setting[], names: string[]): boolean[] {
  const saysSo = names.map(saysDrums)
  const [counts, low] = [names.map(() => 0), names.map(() => 0)]
  const byName = notes.map(({ track, pitch }, i) => {
    const { program } = settings[i]
    const isDrums = saysSo[track] && !(program >= PITCHED_PERCUSSION[0] && program <= PITCHED_PERCUSSION[1])
    counts[track] += Number(isDrums)
    low[track] += Number(isDrums && pitch <= HIGHEST_PITCH)
    return isDrums
  })
  return byName.map((isDrums, i) => isDrums && low[notes[i].track] >= counts[notes[i].track] / 2)
}

/** The tracks, from 0, that a name means, or else a number from 1. */
export function tracksNamed(track: number | string, names: string[]): Set<number> {
  if (typeof track === 'number') return new Set([track - 1])
  const wanted = track.trim().toLowerCase()
  const tracks = [...names.keys()].filter((number) => wanted && names[number].trim().toLowerCase() === wanted)
  const number = /^\d+$/.test(wanted) ? Number(wanted) : 0
  if (!tracks.length && number >= 1 && number <= names.length) tracks.push(number - 1)
  return new Set(tracks)
}

function saysDrums(name: string): boolean {
  return NAMES.test(name) && !NO_NAMES.test(name)
}

/** Notes of each pitch. */
export function countsOf(notes: { pitch: number }[]): Map<number, number> {
  const counts = new Map<number, number>()
  for (const { pitch } of notes) counts.set(pitch, (counts.get(pitch) ?? 0) + 1)
  return counts
}

/** Whether notes are on one channel, with program 0, and by their pitches of a drum kit and no melody. */
function looksLikeDrums(notes: Note[], settings: Setting[]): boolean {
  const counts = countsOf(notes)
  const share = (pitches: number[]) => pitches.reduce((sum, pitch) => sum + (counts.get(pitch) ?? 0), 0) / Math.max(notes.length, 1)
  return channelsOf(notes).length === 1 && settings.every(({ program }) => program === 0)
    && [KICKS, SNARES, TIME].every((family) => share(family) > 0)
    && share(KIT) >= 0.9 && share(BACKBONE) >= 0.5 && share(COMMON) >= 0.6
}

/** The parts of a file, by track and channel. */
export function partsOf(notes: Note[], names: string[]): Part[] {
  const parts = new Map<number, Part>()
  for (const { track, channel } of notes) {
    const key = track * 16 + channel
    const part = parts.get(key) ?? { track: track + 1, name: names[track], channel: channel + 1, notes: 0 }
    part.notes!++
    parts.set(key, part)
  }
  return [...parts].sort((a, b) => a[0] - b[0]).map(([, part]) => part)
}

export function describeParts(parts: Part[]): string {
  const lines = parts.map(({ track, name, channel, notes }) => (
    `track ${track}${name ? ` ${quoted(name)}` : ''} on channel ${channel} (${notes} notes)`
  ))
  const more = lines.length > LISTED_PARTS ? ` and ${lines.length - LISTED_PARTS} more` : ''
  return lines.slice(0, LISTED_PARTS).join(', ') + more || 'no notes'
}

function channelsOf(notes: Note[]): number[] {
  return [...new Set(notes.map((note) => note.channel))].sort((a, b) => a - b)
}

function listed(channels: number[]): string {
  const numbers = channels.map((channel) => channel + 1)
  return numbers.length === 1 ? `channel ${numbers[0]}` : `channels ${numbers.slice(0, -1).join(', ')} and ${numbers.at(-1)}`
}

/** As Python quotes text without control characters. */
export function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  return mark + text.replaceAll('\\', '\\\\').replaceAll(mark, `\\${mark}`) + mark
}
