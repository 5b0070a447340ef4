import { defineConfig } from 'vite'

const names = { entryFileNames: '[name].js', chunkFileNames: '[name].js', assetFileNames: '[name][extname]' }

/** Attributes for other hosts, which keep the stylesheet from a page that is opened as a file. */
const ownFiles = { name: 'own-files', transformIndexHtml: (html: string) => html.replaceAll(' crossorigin', '') }

export default defineConfig({
  base: './',
  plugins: [ownFiles],
  worker: { format: 'es', rolldownOptions: { output: { ...names, entryFileNames: 'model.js' } } },
  build: {
    outDir: '../src/hypermeter/page',
    emptyOutDir: false, // the model stays there
    target: 'es2023',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
    rolldownOptions: { input: { page: 'index.html', offline: 'src/offline.ts' }, output: names },
  },
})
