/** The arrays of a model by name, as `hypermeter export --format page` writes them. */

/** Name and shape of an array; the arrays stand in the file in the order of the list. */
export interface Named {
  name: string
  shape: number[]
}

export class Weights {
  private readonly arrays = new Map<string, Float32Array>()
  private readonly shapes = new Map<string, number[]>()

  /**
   * @param list the arrays, in the order of the file
   * @param bytes planes of bytes: the first byte of all numbers, then the second of all, and so on
   * @throws Error where the file is not that of the list
   */
  constructor(list: Named[], bytes: Uint8Array) {
    const sizes = list.map(({ shape }) => shape.reduce((a, b) => a * b, 1))
    const total = sizes.reduce((a, b) => a + b, 0)
    if (bytes.length !== 4 * total) throw new Error(`the model's weights have ${bytes.length} bytes, expected ${4 * total}`)
    const joined = new Uint8Array(4 * total)
    for (let plane = 0; plane < 4; plane++) {
      for (let i = 0, from = plane * total; i < total; i++) joined[4 * i + plane] = bytes[from + i]
    }
    const numbers = new Float32Array(joined.buffer)
    let start = 0
    list.forEach(({ name, shape }, i) => {
      this.arrays.set(name, numbers.subarray(start, (start += sizes[i])))
      this.shapes.set(name, shape)
    })
  }

  has(name: string): boolean {
    return this.arrays.has(name)
  }

  /** @throws Error where there is none */
  get(name: string): Float32Array {
    const found = this.arrays.get(name)
    if (!found) throw new Error(`the model has no ${name}`)
    return found
  }

  shape(name: string): number[] {
    this.get(name)
    return this.shapes.get(name)!
  }
}
