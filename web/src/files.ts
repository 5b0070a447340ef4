/** Files of the page. */

/** The bytes of a gzipped file, also where the host has unpacked it on the way. */
export async function unzipped(response: Promise<Response> | Response): Promise<ArrayBuffer> {
  const found = await response
  if (!found.ok) throw new Error(`${new URL(found.url).pathname}: ${found.status} ${found.statusText}`)
  const bytes = await found.arrayBuffer()
  const start = new Uint8Array(bytes, 0, 2)
  if (start[0] !== 0x1f || start[1] !== 0x8b) return bytes
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}
