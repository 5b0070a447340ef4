/** Text of unknown encoding: `hypermeter.io.encodings`. */

/** Text in UTF-8, or UTF-16 with a byte order mark, else in cp932 (Japanese), else in Latin-1 (cp1252). */
export function decodeText(bytes: Uint8Array): string {
  const mark = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8'
  const isNoLatin = bytes.some((byte) => byte >= 0x81 && byte <= 0x9f)
  const isNo1252 = bytes.some((byte) => [0x81, 0x8d, 0x8f, 0x90, 0x9d].includes(byte))
  for (const name of [mark, ...(isNoLatin ? ['shift_jis'] : []), ...(isNo1252 ? [] : ['windows-1252'])]) {
    try {
      return new TextDecoder(name, { fatal: true }).decode(bytes)
    } catch {
      continue
    }
  }
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
}
