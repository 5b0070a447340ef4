import { defineConfig, type Plugin } from 'vite'

/** onnxruntime-web names its wasm file beside itself; the page hands it the bytes, so that none is to be emitted. */
function withoutWasmFile(): Plugin {
  return {
    name: 'without-wasm-file',
    enforce: 'pre',
    transform(code, id) {
      if (!id.includes('onnxruntime-web')) return null
      return { code: code.replaceAll(/new URL\(\s*"[^"]*\.wasm",\s*import\.meta\.url\s*\)/g, '({ href: "" })'), map: null }
    },
  }
}

const names = { entryFileNames: '[name].js', chunkFileNames: '[name].js', assetFileNames: '[name][extname]' }

export default defineConfig({
  base: './',
  plugins: [withoutWasmFile()],
  worker: { format: 'es', plugins: () => [withoutWasmFile()], rolldownOptions: { output: { ...names, entryFileNames: 'model.js' } } },
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
