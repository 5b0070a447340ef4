import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { defineConfig } from 'vite'

const names = { entryFileNames: '[name].js', chunkFileNames: '[name].js', assetFileNames: '[name][extname]' }

/** Attributes for other hosts, which keep the stylesheet from a page that is opened as a file. */
const ownFiles = { name: 'own-files', transformIndexHtml: (html: string) => html.replaceAll(' crossorigin', '') }

/** VexFlow names all 2,900 signs of its fonts, a third of its size: those that it uses are enough. */
const fewGlyphs = {
  name: 'few-glyphs',
  transform(code: string, id: string) {
    if (!/vexflow.build.esm.src.glyphs\.js$/.test(id)) return null
    const folder = dirname(id)
    const others = readdirSync(folder).filter((name) => name.endsWith('.js') && name !== 'glyphs.js')
    const used = new Set(others.flatMap((name) => [...readFileSync(join(folder, name), 'utf8').matchAll(/\w+/g)].map(([word]) => word)))
    return code.split('\n').filter((line) => used.has(/Glyphs\["(\w+)"\]/.exec(line)?.[1] ?? '') || !line.includes('Glyphs["')).join('\n')
  },
}

export default defineConfig({
  base: './',
  plugins: [ownFiles, fewGlyphs],
  worker: { format: 'es', rolldownOptions: { output: { ...names, entryFileNames: 'model.js' } } },
  build: {
    outDir: '../src/hypermeter/page',
    emptyOutDir: false, // the model stays there
    target: 'es2023',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
    rolldownOptions: { treeshake: { moduleSideEffects: (id: string) => !id.includes('vexflow') }, input: { page: 'index.html', offline: 'src/offline.ts' }, output: names },
  },
})
