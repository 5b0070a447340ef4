/**
 * What stands in the built page beside the bundle: the hash of what it was built from. What is no longer part of it goes.
 *
 *     node scripts/pack.mjs
 */

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const web = fileURLToPath(new URL('..', import.meta.url))
const page = join(web, '../src/hypermeter/page')

const built = [
  'build.json', 'engraving.js', 'icon-192.png', 'icon-512.png', 'icon.svg', 'index.html', 'licenses.txt', 'manifest.json', 'model', 'model.js', 'notes.woff2', 'offline.js', 'page.css', 'page.js', 'unserved.js',
]
const ofModel = ['meta.json', 'weights.bin.gz']
for (const [folder, kept] of [[page, built], [join(page, 'model'), ofModel]]) {
  for (const name of readdirSync(folder)) if (!kept.includes(name)) rmSync(join(folder, name), { recursive: true })
}

/** All sources, by path: a test compares their hash with that of the tree. */
function sources(folder) {
  return readdirSync(folder).sort().flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? sources(path) : [path]
  })
}

const files = ['index.html', 'package.json', 'package-lock.json', 'tsconfig.json', 'vite.config.ts'].map((name) => join(web, name))
files.push(...sources(join(web, 'public')), ...sources(join(web, 'scripts')), ...sources(join(web, 'src')))
files.push(join(web, '../src/hypermeter/share/sound/drums.json'))
const hash = createHash('sha256')
for (const path of files) {
  hash.update(`${relative(join(web, '..'), path).replaceAll('\\', '/')}\n`)
  hash.update(readFileSync(path))
}
writeFileSync(join(page, 'build.json'), `${JSON.stringify({ sources: hash.digest('hex') })}\n`)
