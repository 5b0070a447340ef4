/**
 * What the built page needs beside the bundle: the wasm runtime and the model, gzipped, and what it was built from.
 *
 *     node scripts/pack.mjs [EXPORT]    EXPORT: a folder that `hypermeter export` wrote; left out, the model stays
 */

import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const web = fileURLToPath(new URL('..', import.meta.url))
const page = join(web, '../src/hypermeter/page')
const exported = process.argv[2]

function zip(from, to) {
  const zipped = gzipSync(readFileSync(from), { level: 9 })
  zipped[9] = 255 // the system that packed it is not told
  writeFileSync(to, zipped)
}

const built = ['build.json', 'icon.svg', 'index.html', 'licenses.txt', 'model', 'model.js', 'ort.wasm.gz', 'page.css', 'page.js']
for (const name of readdirSync(page)) if (!built.includes(name)) rmSync(join(page, name), { recursive: true })
zip(join(web, 'node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm'), join(page, 'ort.wasm.gz'))
if (exported) {
  mkdirSync(join(page, 'model'), { recursive: true })
  copyFileSync(join(exported, 'meta.json'), join(page, 'model/meta.json'))
  for (const name of ['step.onnx', 'plan.onnx', 'expression.onnx']) {
    zip(join(exported, name), join(page, 'model', `${name}.gz`))
  }
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
