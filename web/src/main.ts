/** The page: what is written, heard and asked, put together. */

import drums from '../../src/hypermeter/share/sound/drums.json'
import { App } from './app'
import { beatsFor } from './beats'
import { Chaining } from './chaining'
import { Chooser } from './chooser'
import { Controls } from './controls'
import { byId, download, guardSliders, setPressed, setText } from './dom'
import { WorkerEngine } from './engine'
import { First } from './first'
import { Keeper } from './keeper'
import { Editing } from './editing'
import { Exporting } from './exporting'
import { bindKeys, listWords } from './keys'
import type { Drums } from './kit'
import type { Meta } from './meta'
import type { Engine } from './protocol'
import { writeMidi } from './midi'
import { Links } from './links'
import { Connections } from './live/connections'
import { Panel } from './live/panel'
import { Opener } from './opener'
import { Notation } from './notation'
import { openingSong } from './opening'
import { Overview } from './overview'
import { barsPlayed, performed } from './performing'
import { SampleStore } from './samples'
import { Sequencer } from './sequencer'
import { findServer, mayBeServer } from './server'
import { isHeard } from './settings'
import { Shelf } from './shelf'
import * as songs from './song'
import { Sound } from './sound'
import { Soundboard } from './soundboard'
import { Taps } from './taps'
import { keepOffline } from './updates'
import { columnsIn, fitting, withStep } from './viewing'
import { VoiceStrip } from './voices'
import ModelWorker from './worker?worker'

/** Between looks whether endless play has enough ahead. */
const LOOK_AHEAD_MS = 100
/** Pixels of screens that count as narrow, and as wide. */
const NARROW = 720
const WIDE = 1080

async function start(): Promise<void> {
  const base = document.baseURI
  const about = await fetch(new URL('model/meta.json', base))
  const meta = (await about.json()) as Meta
  const engine = new WorkerEngine(new ModelWorker({ name: 'model' }), base)
  const { name, song } = beatsFor(meta)[0] ?? { name: 'First beat', song: openingSong(meta, meta.grid) }
  const app = new App(meta, { ...song, kept: songs.newPlace(name) }, engine)
  const samples = new SampleStore()
  const sound = new Sound(app, drums as unknown as Drums, () => app.changed(), samples)
  app.onForgotten = (steps) => sound.dropped(steps)
  app.onMixer = () => sound.setMixer()
  const keeper = new Keeper(app)
  const links = new Links(app, keeper)
  const shelf = new Shelf(app, keeper)
  const editing = new Editing(app)
  const chaining = new Chaining(app)
  const exporting = new Exporting(app, sound)
  const notation = new Notation(app)
  const soundboard = new Soundboard(app, sound, samples, keeper)
  const audition = (voice: number, velocity: number) => void sound.audition(voice, velocity)
  const sequencer = new Sequencer(byId('grid'), app, audition)
  const strip = new VoiceStrip(byId('voices'), app, audition)
  const overview = new Overview(byId('overview'), byId('strip'), app)
  const actions = {
    togglePlay: () => void togglePlay(app, sound),
    setVolume: () => sound.setMaster(),
    open: () => byId('file').click(),
    saveMidi: () => saveMidi(app),
    saveWav: () => exporting.show(),
    showNotation: () => notation.show(),
    showSounds: () => soundboard.open(),
    share: () => void links.copy(),
    showSongs: () => shelf.show(),
    showKeys: () => byId<HTMLDialogElement>('keys').showModal(),
    setEndless: (endless: boolean) => {
      app.set({ endless })
      if (endless && !sound.isPlaying) void togglePlay(app, sound)
    },
  }
  const controls = new Controls(app, actions)
  const chooser = new Chooser(app)
  const taps = new Taps(app, sound)
  const connections = new Connections(app, sound, () => firstStep(app), () => panel.show())
  const panel = new Panel(connections, () => sound.isPlaying)
  byId('skip').addEventListener('click', (event) => {
    event.preventDefault() // the address stays: a song may be in it
    sequencer.takeFocus()
  })
  bindKeys([
    { press: 'p', shown: 'P', does: 'play or stop', action: actions.togglePlay },
    { press: ' ', shown: 'Space', does: 'play or stop, wherever one is but in a field', action: actions.togglePlay },
    { press: 'c', shown: 'C', does: 'continue: new bars after the last', action: () => void app.continue() },
    { press: 'f', shown: 'F', does: 'write the selected bars anew', action: () => void app.fillIn() },
    { press: 'v', shown: 'V', does: 'vary the selected bars', action: () => void app.vary() },
    { press: 'b', shown: 'B', does: 'turn the first selected bar into a drum fill', action: () => void app.fillBar() },
    { press: 'e', shown: 'E', does: 'switch endless play', action: () => actions.setEndless(!app.settings.endless) },
    { press: 'l', shown: 'L', does: 'switch between locking and writing', action: () => app.set({ mode: app.settings.mode === 'lock' ? 'write' : 'lock' }) },
    { press: 't', shown: 'T', does: 'tap the tempo; after Tap along, the rhythm', action: () => taps.isTapping ? taps.hit() : connections.tap(performance.now()), once: true },
    { press: 'm', shown: 'M', does: 'switch the metronome', action: () => connections.set({ isClicking: !connections.kept.isClicking }) },
    ...editing.keys,
    { press: 'ctrl+a', shown: 'Ctrl A', does: 'select all bars', action: () => app.select(0, app.bars) },
    { press: 'escape', shown: 'Esc', does: 'select no bar', action: () => app.select(0, 0) },
    { press: 'ctrl+z', shown: 'Ctrl Z', does: 'undo', action: () => app.undo() },
    { press: 'ctrl+shift+z', shown: 'Ctrl Shift Z', does: 'redo', action: () => app.redo() },
    { press: 'ctrl+y', shown: 'Ctrl Y', does: 'redo', action: () => app.redo() },
    { press: '', shown: '← → ↑ ↓', does: 'in the grid, move; Home and End to the ends of the bar, Page Up and Page Down by a bar' },
    { press: '', shown: 'Enter', does: 'in the grid, write or remove a hit; Del removes it' },
    { press: '', shown: 'X', does: 'in the grid, lock or unlock the cell' },
    { press: '', shown: '[ ]', does: 'in the grid, softer and louder' },
    { press: '', shown: ', .', does: 'in the grid, earlier and later' },
    { press: '', shown: '- +', does: 'in the grid, less and more often played' },
    { press: '', shown: 'R', does: 'in the grid, one stroke more: flam, drag, ruff, then a single one again' },
    { press: '', shown: '↑ ↓', does: 'on a bar above, plan more or fewer hits; Shift Del leaves the density open' },
    { press: '', shown: '↑ ↓', does: 'in the mixer, go from voice to voice; Tab goes through what a voice has' },
    { press: '?', shown: '?', does: 'this help', action: actions.showKeys },
  ])
  const startFollowing = follow(app, sound, sequencer, overview)
  app.onChange(() => {
    if (sound.isPlaying) startFollowing()
    sequencer.show()
    strip.show()
    overview.show()
    chaining.show()
    controls.show(sound.isPlaying)
    chooser.show()
    taps.show()
    panel.show()
  })
  fitView(app)
  guardSliders()
  new Opener(app, (file) => void taps.open(file))
  new First(app)
  listWords()
  const dark = matchMedia('(prefers-color-scheme: dark)')
  dark.addEventListener('change', () => app.changed())
  const loading = 'Loading the model …'
  app.say(loading)
  await keeper.start(links.isNew && (await links.open()))
  engine.ready.then(() => {
    if (app.message === loading) app.say('Ready: write a beat, or let the drummer continue it')
  }, (error: Error) => app.say(`The model cannot be loaded: ${error.message}`))
  void sound.warm()
  void connections.start()
  void keepOffline(base)
  if (mayBeServer(about.headers)) void offerServer(app, engine, base)
  Object.assign(window, { hypermeter: { app, sound, engine, keeper, connections } }) // for the console, and for tests
}

/** Where the page came from a server that plays, one may choose where to have it done. */
async function offerServer(app: App, inPage: Engine, base: string): Promise<void> {
  const onServer = await findServer(app.meta, base)
  if (!onServer) return
  const choose = (engine: Engine) => {
    app.engine = engine
    setPressed(byId('engine-page'), engine === inPage)
    setPressed(byId('engine-server'), engine === onServer)
  }
  byId('engine').hidden = false
  byId('engine-page').addEventListener('click', () => choose(inPage))
  byId('engine-server').addEventListener('click', () => choose(onServer))
}

/** Where it begins to play: with the loop, or with the bar in view. */
function firstStep(app: App): number {
  const isLoop = app.settings.loop && app.hasSelection
  return (isLoop ? app.selection[0] : app.view.first) * app.song.stepsPerBar
}

async function togglePlay(app: App, sound: Sound): Promise<void> {
  if (sound.isPlaying) sound.stop()
  else if (!(await sound.play(firstStep(app)))) app.set({ endless: false })
  app.changed()
}

/** How many bars fit: four on a desk, two on a tablet; for fingers, as many as have cells of 24 pixels, or a part of one. */
function fitView(app: App): void {
  const grid = byId('grid')
  const fit = () => {
    const forFingers = innerWidth < NARROW || matchMedia('(pointer: coarse)').matches
    if (forFingers && !grid.clientWidth) return // the mixer is in its place
    const room = columnsIn(grid.clientWidth, app.song.grid)
    const [most, columns] = innerWidth < WIDE ? [2, 32] : [4, 64]
    app.setView(fitting(app.song.grid, forFingers ? Math.min(room, columns) : columns, most))
  }
  window.addEventListener('resize', fit)
  app.onChange(fit)
  fit()
}

/** While it plays: marks the step, turns the page, and asks for bars ahead. */
function follow(app: App, sound: Sound, sequencer: Sequencer, overview: Overview): () => void {
  let isFollowing = false
  let shown = ''
  const look = () => {
    const step = sound.step
    const bar = step < 0 ? -1 : Math.floor(step / app.song.stepsPerBar)
    const { part } = withStep(app.view, app.song.grid, Math.max(0, step))
    const now = `${bar} ${part}`
    if (now !== shown && bar >= 0) app.showStep(step)
    shown = now
    sequencer.showPlaying(step)
    overview.showPlaying(bar)
    isFollowing = sound.isPlaying
    if (isFollowing) requestAnimationFrame(look)
  }
  setInterval(() => {
    if (sound.isPlaying && app.settings.endless) void app.keepAhead(Math.floor(Math.max(0, sound.step) / app.song.stepsPerBar))
  }, LOOK_AHEAD_MS)
  return () => { if (!isFollowing) look() }
}

// ------------------------------------------------------------------ files

function saveMidi(app: App): void {
  const { song, meta, mixer, settings } = app
  const played = performed(song, mixer, barsPlayed(song, settings))
  const offset = played.offset.map((_, cell) => (played.hits[cell] ? songs.placed(played, cell) : 0))
  const strokes = new Map([...played.strokes].map(([cell, own]) => [cell, own.map((stroke) => ({ ...stroke, offset: songs.placed(played, cell, stroke.offset) }))]))
  download([writeMidi({ ...played, offset, strokes }, meta.kit.voices, song.grid)], 'hypermeter.mid', 'audio/midi')
  const lost = [
    ...(song.chances.size ? ['hits with a chance are those of the first time round'] : []),
    ...(song.hits.some((hit, cell) => hit && !isHeard(mixer, cell % song.voices)) ? ['silent voices are left out'] : []),
  ]
  app.say(['Saved as hypermeter.mid', ...lost].join('; '))
}

start().catch((error: Error) => setText(byId('status'), `The page cannot start: ${error.message}`))
