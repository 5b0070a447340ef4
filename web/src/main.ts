/** The page: what is written, heard and asked, put together. */

import drums from '../../src/hypermeter/share/sound/drums.json'
import { App } from './app'
import { Controls } from './controls'
import { byId, download, setPressed, setText } from './dom'
import { WorkerEngine } from './engine'
import { bindKeys } from './keys'
import type { Drums } from './kit'
import type { Meta } from './meta'
import type { Engine } from './protocol'
import { writeMidi } from './midi'
import { Opener } from './opener'
import { openingSong } from './opening'
import { Overview } from './overview'
import { Sequencer } from './sequencer'
import { findServer, mayBeServer } from './server'
import { fromHash, ShareError, toHash } from './share'
import * as songs from './song'
import { Sound } from './sound'
import { VoiceStrip } from './voices'
import { writeWav } from './wav'
import ModelWorker from './worker?worker'

/** Between looks whether endless play has enough ahead. */
const LOOK_AHEAD_MS = 100

async function start(): Promise<void> {
  const base = document.baseURI
  const about = await fetch(new URL('model/meta.json', base))
  const meta = (await about.json()) as Meta
  const engine = new WorkerEngine(new ModelWorker({ name: 'model' }), base)
  const app = new App(meta, openingSong(meta, meta.grid), engine)
  const sound = new Sound(app, drums as unknown as Drums, () => app.changed())
  app.onForgotten = (steps) => sound.dropped(steps)
  const audition = (voice: number, velocity: number) => void sound.audition(voice, velocity)
  const sequencer = new Sequencer(byId('grid'), app, audition)
  const strip = new VoiceStrip(byId('voices'), app, (voice) => sound.setVolume(voice), audition)
  const overview = new Overview(byId('overview'), byId('strip'), app)
  const actions = {
    togglePlay: () => void togglePlay(app, sound),
    setVolume: () => sound.setMaster(),
    open: () => byId('file').click(),
    saveMidi: () => saveMidi(app),
    saveWav: () => void saveWav(app, sound),
    share: () => void share(app),
    showKeys: () => byId<HTMLDialogElement>('keys').showModal(),
    setEndless: (endless: boolean) => {
      app.set({ endless })
      if (endless && !sound.isPlaying) void togglePlay(app, sound)
    },
  }
  const controls = new Controls(app, actions)
  bindKeys([
    { press: 'p', shown: 'P', does: 'play or stop', action: actions.togglePlay },
    { press: ' ', shown: 'Space', does: 'play or stop, outside the grid', action: actions.togglePlay },
    { press: 'c', shown: 'C', does: 'continue: new bars after the last', action: () => void app.continue() },
    { press: 'f', shown: 'F', does: 'fill in the selected bars', action: () => void app.fillIn() },
    { press: 'v', shown: 'V', does: 'vary the selected bars', action: () => void app.vary() },
    { press: 'b', shown: 'B', does: 'turn the first selected bar into a drum fill', action: () => void app.fillBar() },
    { press: 'e', shown: 'E', does: 'switch endless play', action: () => actions.setEndless(!app.settings.endless) },
    { press: 'l', shown: 'L', does: 'switch between locking and writing', action: () => app.set({ mode: app.settings.mode === 'lock' ? 'write' : 'lock' }) },
    { press: 'ctrl+z', shown: 'Ctrl Z', does: 'undo', action: () => app.undo() },
    { press: 'ctrl+shift+z', shown: 'Ctrl Shift Z', does: 'redo', action: () => app.redo() },
    { press: 'ctrl+y', shown: 'Ctrl Y', does: 'redo', action: () => app.redo() },
    { press: '', shown: '← → ↑ ↓', does: 'in the grid, move; Home and End to the ends of the bar, Page Up and Page Down by a bar' },
    { press: '', shown: 'Space', does: 'in the grid, write or remove a hit' },
    { press: '', shown: 'X', does: 'in the grid, lock or unlock the cell' },
    { press: '', shown: '[ ]', does: 'in the grid, softer and louder' },
    { press: '', shown: 'R', does: 'in the grid, one stroke more: flam, drag, ruff, then a single one again' },
    { press: '', shown: '↑ ↓ Del', does: 'on a bar above, plan more or fewer hits, or leave the density open' },
    { press: '?', shown: '?', does: 'this list', action: actions.showKeys },
  ])
  const startFollowing = follow(app, sound, sequencer, overview)
  app.onChange(() => {
    if (sound.isPlaying) startFollowing()
    sequencer.show()
    strip.show()
    overview.show()
    controls.show(sound.isPlaying)
  })
  fitView(app)
  new Opener(app)
  const dark = matchMedia('(prefers-color-scheme: dark)')
  dark.addEventListener('change', () => app.changed())
  window.addEventListener('hashchange', () => void fromLink(app))
  const loading = 'Loading the model …'
  app.say(loading)
  await fromLink(app)
  engine.ready.then(() => {
    if (app.message === loading) app.say('Ready: write a beat, or let the model continue it')
  }, (error: Error) => app.say(`The model cannot be loaded: ${error.message}`))
  void sound.warm()
  if (mayBeServer(about.headers)) void offerServer(app, engine, base)
  Object.assign(window, { hypermeter: { app, sound, engine } }) // for the console, and for tests
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

async function togglePlay(app: App, sound: Sound): Promise<void> {
  if (sound.isPlaying) sound.stop()
  else {
    const [first] = app.selection
    await sound.play((app.settings.loop ? first : app.view.first) * app.song.stepsPerBar)
  }
  app.changed()
}

/** How many bars fit: one on a phone, two on a tablet, four beside that; fewer of many steps. */
function fitView(app: App): void {
  const fit = () => {
    const [most, columns] = innerWidth < 720 ? [1, 16] : innerWidth < 1080 ? [2, 32] : [4, 64]
    app.setViewBars(Math.max(1, Math.min(most, Math.floor(columns / app.song.stepsPerBar))))
  }
  window.addEventListener('resize', fit)
  app.onChange(fit)
  fit()
}

/** While it plays: marks the step, turns the page, and asks for bars ahead. */
function follow(app: App, sound: Sound, sequencer: Sequencer, overview: Overview): () => void {
  let isFollowing = false
  let shown = -1
  const look = () => {
    const step = sound.step
    const bar = step < 0 ? -1 : Math.floor(step / app.song.stepsPerBar)
    if (bar !== shown && bar >= 0) app.show(bar)
    shown = bar
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

// ------------------------------------------------------------------ files and links

function saveMidi(app: App): void {
  const { song, meta } = app
  const offset = song.offset.map((_, cell) => (song.hits[cell] ? songs.placed(song, cell) : 0))
  const strokes = new Map([...song.strokes].map(([cell, own]) => [cell, own.map((stroke) => ({ ...stroke, offset: songs.placed(song, cell, stroke.offset) }))]))
  const groove = { ...song, offset, strokes }
  const bytes = writeMidi(groove, meta.kit.voices, song.grid)
  download(bytes, 'hypermeter.mid', 'audio/midi')
  app.say('Saved as hypermeter.mid')
}

async function saveWav(app: App, sound: Sound): Promise<void> {
  app.say('Rendering …')
  try {
    const channels = await sound.render()
    download(writeWav(channels, sound.kit.rate), 'hypermeter.wav', 'audio/wav')
    app.say('Saved as hypermeter.wav')
  } catch (error) {
    app.say(`The WAV file cannot be made: ${(error as Error).message}`)
  }
}

async function share(app: App): Promise<void> {
  const url = new URL(location.href)
  try {
    url.hash = await toHash(app.song)
    history.replaceState(null, '', url)
  } catch (error) {
    app.say(`The link cannot be made: ${(error as Error).message}`)
    return
  }
  try {
    await navigator.clipboard.writeText(url.href)
    app.say('The link is copied: it holds the whole song')
  } catch {
    app.say('The link is in the address bar: it holds the whole song')
  }
}

async function fromLink(app: App): Promise<void> {
  const text = location.hash.slice(1)
  if (!text) return
  try {
    app.open(await fromHash(text, app.meta, songs.MOST_BARS))
  } catch (error) {
    app.say(error instanceof ShareError ? error.message : 'The link cannot be read.')
  }
}

start().catch((error: Error) => setText(byId('status'), `The page cannot start: ${error.message}`))
