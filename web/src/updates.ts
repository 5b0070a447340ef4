/** The page without a network: it has a service worker keep it, and tells when a new version is ready. */

import { byId } from './dom'

/** To the service worker: to look whether the host has another version. */
export type ToOffline = 'look'
/** From the service worker: another version is kept, and counts from the next opening on. */
export type FromOffline = 'update'

/** Between looks, while the page stays open. */
const LOOK_MS = 3_600_000

/** Only over https or on one's own machine: elsewhere browsers have no service workers, and the page goes without. */
export async function keepOffline(base: string): Promise<void> {
  const { serviceWorker } = navigator
  if (!serviceWorker) return
  serviceWorker.addEventListener('message', ({ data }: MessageEvent<FromOffline>) => { if (data === 'update') byId('update').hidden = false })
  byId('reload').addEventListener('click', () => location.reload())
  try {
    await serviceWorker.register(new URL('offline.js', base))
    const { active } = await serviceWorker.ready
    const look = () => active?.postMessage('look' satisfies ToOffline)
    look()
    setInterval(look, LOOK_MS)
    addEventListener('online', look)
  } catch {
    // A browser that denies it plays as well, with a network.
  }
}
