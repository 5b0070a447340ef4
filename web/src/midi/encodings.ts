/** Text of unknown encoding: `hypermeter.io.encodings`. */

/** Letters of cp1252 from 0x80 to 0x9f, with a blank where it defines none; some engines decode it as Latin-1. */
const CP1252 = '€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ'

/** Text in UTF-8, or UTF-16 with a byte order mark, else in cp932 (Japanese), else in Latin-1 (cp1252). */
function decodeText(bytes: Uint8Array): string {
  const mark = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8'
  const isNoLatin = bytes.some((byte) => byte >= 0x81 && byte <= 0x9f)
  for (const name of isNoLatin ? [mark, 'shift_jis'] : [mark]) {
    try {
      return new TextDecoder(name, { fatal: true }).decode(bytes)
    } catch {
      continue
    }
  }
  return Array.from(bytes, (byte) => (byte >= 0x80 && byte <= 0x9f ? CP1252[byte - 0x80].trim() : String.fromCharCode(byte))).join('')
}

/** Text in one line: without control characters, and blanks around it. */
export function decodeName(bytes: Uint8Array): string {
  return decodeText(bytes).replace(/(?! )[\p{C}\p{Z}]/gu, '').trim()
}
