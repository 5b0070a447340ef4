import { defineConfig } from 'vite'

const names = { entryFileNames: '[name].js', chunkFileNames: '[name].js', assetFileNames: '[name][extname]' }

export default defineConfig({
  base: './',
  worker: { format: 'es', rolldownOptions: { output: { ...names, entryFileNames: 'model.js' } } },
  build: {
    outDir: '../src/hypermeter/page',
    emptyOutDir: false, // the model stays there
    target: 'es2023',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
    rolldownOptions: { input: { page: 'index.html' }, output: names },
  },
})
