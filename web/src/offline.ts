/**
 * The service worker: the page without a network, and whole.
 *
 * All files of the page are kept as one set, so that a page is never of two versions. It is opened from the set that is
 * kept; each time, the files of the host are compared with it, and where any is another, all are kept as the next set, which
 * counts from the next opening on. A page that is open is told.
 */

import type { FromOffline, ToOffline } from './updates'

interface Waiting extends Event {
  waitUntil(promise: Promise<unknown>): void
}

interface Fetching extends Waiting {
  readonly request: Request
  respondWith(response: Promise<Response>): void
}

interface Told extends Waiting {
  readonly data: ToOffline
}

interface Page {
  readonly url: string
  postMessage(message: FromOffline): void
  navigate(url: string): Promise<unknown>
}

/** What of a service worker is used here: TypeScript has its types only without those of pages. */
declare const self: {
  addEventListener(kind: 'install' | 'activate', listener: (event: Waiting) => void): void
  addEventListener(kind: 'fetch', listener: (event: Fetching) => void): void
  addEventListener(kind: 'message', listener: (event: Told) => void): void
  skipWaiting(): Promise<void>
  readonly clients: { claim(): Promise<void>; matchAll(): Promise<Page[]> }
  readonly registration: { readonly scope: string; unregister(): Promise<boolean> }
}

const START = './'
const FILES = [
  START, 'page.js', 'page.css', 'model.js', 'engraving.js', 'notes.woff2', 'icon.svg', 'icon-192.png', 'icon-512.png', 'manifest.json', 'model/meta.json', 'model/weights.bin.gz',
]
/** In a set that has all files. */
const COMPLETE = 'complete'
/** What the page's own document has, and that of another program at the same address has not. */
const OWN = '<title>Hypermeter</title>'

const { scope } = self.registration
const prefix = `hypermeter ${scope} `
const addressOf = (file: string) => new URL(file, scope).href
const addresses = FILES.map(addressOf)

self.addEventListener('install', (event) => event.waitUntil(first()))
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()))
self.addEventListener('message', (event) => event.waitUntil(look()))
self.addEventListener('fetch', (event) => {
  const { request } = event
  const address = request.url.split(/[?#]/)[0].replace(/\/index\.html$/, '/')
  if (request.method !== 'GET' || !addresses.includes(address)) return
  event.respondWith(answer(request, address))
})

async function first(): Promise<void> {
  if (!(await sets()).length) await keep(await fromHost('default'))
  await self.skipWaiting()
}

/** Names of the sets that are complete, the oldest first: it counts until the page is opened the next time. */
async function sets(): Promise<string[]> {
  const names = (await caches.keys()).filter((name) => name.startsWith(prefix)).sort()
  const complete = await Promise.all(names.map(async (name) => (await caches.open(name)).match(addressOf(COMPLETE))))
  return names.filter((_, place) => complete[place])
}

async function answer(request: Request, address: string): Promise<Response> {
  const found = await sets()
  if (request.mode === 'navigate') for (const old of found.splice(0, found.length - 1)) await caches.delete(old)
  const kept = found.length ? await (await caches.open(found[0])).match(address, { ignoreVary: true }) : undefined
  return kept ?? fetch(request)
}

/** All files as the host has them now. @throws where there is no host, or it has not all of them */
async function fromHost(cache: RequestCache): Promise<Response[]> {
  return Promise.all(addresses.map(async (address) => {
    const response = await fetch(address, { cache })
    if (!response.ok) throw new Error(`${address}: ${response.status}`)
    return response
  }))
}

async function keep(responses: Response[]): Promise<void> {
  const name = prefix + Date.now()
  const set = await caches.open(name)
  await Promise.all(responses.map((response, place) => set.put(addresses[place], response)))
  await set.put(addressOf(COMPLETE), new Response())
}

/** Compares what is kept with the host, and keeps what is new; without a network all stays as it is. */
async function look(): Promise<void> {
  try {
    const start = await fetch(scope, { cache: 'no-cache' })
    if (start.ok && !(await start.text()).includes(OWN)) return await makeWay()
    const responses = await fromHost('no-cache')
    const found = await sets()
    const newest = found.at(-1)
    if (!newest || !(await areSame(await caches.open(newest), responses))) await keep(responses)
    else if (found.length < 2) return
    for (const page of await self.clients.matchAll()) page.postMessage('update')
  } catch {
    // Without a network there is nothing new.
  }
}

async function areSame(set: Cache, responses: Response[]): Promise<boolean> {
  const same = await Promise.all(responses.map(async (response, place) => {
    const kept = await set.match(addresses[place], { ignoreVary: true })
    if (!kept) return false
    const [was, now] = await Promise.all([kept.arrayBuffer(), response.clone().arrayBuffer()])
    const bytes = new Uint8Array(now)
    return was.byteLength === now.byteLength && new Uint8Array(was).every((byte, at) => byte === bytes[at])
  }))
  return !same.includes(false)
}

/** Another program is at this address now, as on a port of one's own machine: it is let through. */
async function makeWay(): Promise<void> {
  await self.registration.unregister()
  for (const name of await caches.keys()) if (name.startsWith(prefix)) await caches.delete(name)
  for (const page of await self.clients.matchAll()) await page.navigate(page.url)
}
