/** Beats to begin with: `beats.txt`, in the notation of `hypermeter.io.ascii`. */

import text from './beats.txt?raw'
import { areSame, fittingGrid, nameOf, type Grid } from './grids'
import type { Meta } from './meta'
import * as songs from './song'
import type { Song } from './song'

export interface Beat {
  name: string
  song: Song
}

/** Velocities, as `LEVELS` in Python. */
const LEVELS: Record<string, number> = { o: 0.3, x: 0.7, X: 0.95 }
const HEADING = /^## ([^,\n]*)(?:, swing ([\d.]+))?\ntempo (\d+), metre (\d+)\/(\d+), (\d+) steps a beat, phrases of (\d+)\n/
const ROW = /^(\w+) *\|(.*)\|$/

/** The beats in metres that the model plays; the first is the one that the page opens with. */
export function beatsFor(meta: Meta, source = text): Beat[] {
  const grids = meta.serves_every_grid ? meta.grids : [meta.grid]
  return source.split(/\n(?=## )/).slice(1)
    .map((part) => beatOf(part, meta))
    .filter(({ song }) => grids.some((grid) => areSame(grid, song.grid)))
}

function beatOf(part: string, meta: Meta): Beat {
  const [, name, swing, tempo, beats, unit, perBeat, perPhrase] = HEADING.exec(part)!
  const grid = fittingGrid(Number(beats), Number(unit), (Number(perBeat) * Number(unit)) / 4, Number(perPhrase))
  const rows = new Map(part.split('\n').flatMap((line) => {
    const row = ROW.exec(line.trim())
    return row ? [[row[1], row[2].split('|')] as const] : []
  }))
  const [bars] = rows.values()
  return { name, song: { ...written(meta, grid, rows, bars.length), tempo: Number(tempo), swing: Number(swing ?? 0) } }
}

/** @param rows of each voice its bars, a letter for each step */
export function written(meta: Meta, grid: Grid, rows: ReadonlyMap<string, readonly string[]>, bars: number): Song {
  let song = songs.emptySong(meta.kit.voices.length, grid, bars)
  meta.kit.voices.forEach(({ name }, voice) => {
    Array.from((rows.get(name) ?? []).join('')).forEach((letter, step) => {
      if (letter !== '.') song = songs.setHits(song, [step * song.voices + voice], 1, LEVELS[letter])
    })
  })
  return song
}

/** Tempo and metre in words. */
export function describe({ tempo, grid }: Song): string {
  return `${nameOf(grid)}, ${Math.round(tempo)}`
}
