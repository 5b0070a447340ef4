/** MIDI files, read and written as `hypermeter.read_midi` and `hypermeter.write_midi` do. */

export type { Part } from './midi/drums'
export { MAP_TITLES } from './midi/maps'
export { readMidi, type ReadMidi, type ReadOptions } from './midi/read'
export { readTaps, type ReadTaps } from './midi/taps'
export { MidiError, type MidiGroove, type MidiVoice } from './midi/types'
export { TICKS_PER_QUARTER, writeMidi } from './midi/write'
