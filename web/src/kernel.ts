/**
 * Matrix products of four numbers at a time: a small WebAssembly module, put together here, so that no compiler is needed.
 *
 * It adds x W to `out`, where W is (inputs, outputs) with outputs padded to PAD. One function takes four rows and eight
 * outputs at a time, one takes a single row and 16 outputs.
 */

/** Outputs are padded to a multiple of it. */
export const PAD = 16
const PAGE_BYTES = 65_536
const FIRST_PAGES = 160

type Product = (w: number, x: number, out: number, inputs: number, outputs: number, rows: number) => void

const leb = (value: number): number[] => {
  const bytes = []
  for (;;) {
    const low = value & 127
    value >>= 7
    const isLast = (value === 0 && !(low & 64)) || (value === -1 && low & 64)
    bytes.push(isLast ? low : low | 128)
    if (isLast) return bytes
  }
}
const unsigned = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >> 7)])
const section = (id: number, body: number[]) => [id, ...unsigned(body.length), ...body]
const get = (local: number) => [0x20, local]
const set = (local: number) => [0x21, local]
const constant = (value: number) => [0x41, ...leb(value)]
const ADD = [0x6a]
const MULTIPLY = [0x6c]
const LESS = [0x49]
const I32 = 0x7f
const V128 = 0x7b
const ADD_FLOATS = [0xfd, 0xe4, 0x01]
const MULTIPLY_FLOATS = [0xfd, 0xe6, 0x01]
const load = (offset: number) => [0xfd, 0x00, 2, ...unsigned(offset)]
const loadToAll = [0xfd, 0x09, 2, 0]
const store = (offset: number) => [0xfd, 0x0b, 2, ...unsigned(offset)]
/** Runs a body again while a local, which it makes greater by `by`, is below another. */
const repeat = (local: number, by: number, below: number, body: number[]) => [
  ...constant(0), ...set(local), 0x03, 0x40, ...body, ...get(local), ...constant(by), ...ADD, ...set(local), ...get(local), ...get(below), ...LESS, 0x0d, 0, 0x0b,
]

/** The code of a function over blocks of so many rows and so many vectors of four outputs. */
function code(rowsOfBlock: number, vectors: number): number[] {
  const [w, x, out, inputs, outputs, rows] = [0, 1, 2, 3, 4, 5]
  const [row, column, input, ofW] = [6, 7, 8, 9]
  const ofX = Array.from({ length: rowsOfBlock }, (_, r) => 10 + r)
  const ofOut = ofX.map((local) => local + rowsOfBlock)
  const numbers = 4 + 2 * rowsOfBlock
  const factors = Array.from({ length: vectors }, (_, v) => 6 + numbers + v)
  const value = 6 + numbers + vectors
  const sums = ofX.map((_, r) => factors.map((_, v) => value + 1 + r * vectors + v))
  /** Of a row of the block: base + 4 * (row + r) * width. */
  const address = (base: number, r: number, width: number) => [
    ...get(base), ...get(row), ...constant(r), ...ADD, ...get(width), ...MULTIPLY, ...constant(4), ...MULTIPLY, ...ADD,
  ]
  const fourTimes = (local: number) => [...get(local), ...constant(4), ...MULTIPLY]
  const block = [
    ...get(w), ...fourTimes(column), ...ADD, ...set(ofW),
    ...ofX.flatMap((local, r) => [...address(x, r, inputs), ...set(local)]),
    ...ofOut.flatMap((local, r) => [...address(out, r, outputs), ...fourTimes(column), ...ADD, ...set(local)]),
    ...sums.flatMap((own, r) => own.flatMap((sum, v) => [...get(ofOut[r]), ...load(16 * v), ...set(sum)])),
    ...repeat(input, 1, inputs, [
      ...factors.flatMap((factor, v) => [...get(ofW), ...load(16 * v), ...set(factor)]),
      ...ofX.flatMap((local, r) => [
        ...get(local), ...loadToAll, ...set(value),
        ...factors.flatMap((factor, v) => [...get(sums[r][v]), ...get(factor), ...get(value), ...MULTIPLY_FLOATS, ...ADD_FLOATS, ...set(sums[r][v])]),
        ...get(local), ...constant(4), ...ADD, ...set(local),
      ]),
      ...get(ofW), ...fourTimes(outputs), ...ADD, ...set(ofW),
    ]),
    ...sums.flatMap((own, r) => own.flatMap((sum, v) => [...get(ofOut[r]), ...get(sum), ...store(16 * v)])),
  ]
  const body = [
    2, ...unsigned(numbers), I32, ...unsigned(vectors + 1 + rowsOfBlock * vectors), V128,
    ...repeat(row, rowsOfBlock, rows, repeat(column, 4 * vectors, outputs, block)), 0x0b,
  ]
  return [...unsigned(body.length), ...body]
}

function moduleBytes(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 6, I32, I32, I32, I32, I32, I32, 0]),
    ...section(2, [1, 1, 0x6d, 1, 0x6d, 2, 0, 1]), // a memory, m.m
    ...section(3, [2, 0, 0]),
    ...section(7, [2, 1, 0x61, 0, 0, 1, 0x62, 0, 1]), // the functions a and b
    ...section(10, [2, ...code(4, 2), ...code(1, 4)]),
  ])
}

/** Rows that are multiplied at a time. */
const MOST_ROWS = 64

/** The memory of the products, and the module. */
class Kernel {
  private readonly memory = new WebAssembly.Memory({ initial: FIRST_PAGES })
  private readonly ofFour: Product
  private readonly ofOne: Product
  private numbers = new Float32Array(this.memory.buffer)
  private filled = 0
  private room = { inputs: { at: 0, size: 0 }, outputs: { at: 0, size: 0 } }

  constructor() {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()), { m: { m: this.memory } })
    this.ofFour = exports.a as Product
    this.ofOne = exports.b as Product
  }

  /** @returns where so many numbers have room */
  private allocate(size: number): number {
    const at = this.filled
    this.filled += Math.ceil(size / 4) * 4
    const missing = 4 * this.filled - this.memory.buffer.byteLength
    if (missing > 0) {
      this.memory.grow(Math.ceil(missing / PAGE_BYTES))
      this.numbers = new Float32Array(this.memory.buffer)
    }
    return at
  }

  /** Keeps a matrix (outputs, inputs). @returns its place */
  keep(weight: Float32Array, inputs: number, outputs: number): number {
    const width = padded(outputs)
    const at = this.allocate(inputs * width)
    for (let j = 0; j < outputs; j++) for (let i = 0; i < inputs; i++) this.numbers[at + i * width + j] = weight[j * inputs + i]
    return at
  }

  private roomFor(name: 'inputs' | 'outputs', size: number): number {
    if (this.room[name].size < size) this.room[name] = { at: this.allocate(size), size }
    return this.room[name].at
  }

  /** As `affine` in layers.ts, of a matrix that is kept at a place. */
  affine(place: number, bias: Float32Array | null, inputs: number, outputs: number, x: Float32Array, rows: number, out: Float32Array): void {
    const width = padded(outputs)
    for (let first = 0; first < rows; first += MOST_ROWS) {
      const count = Math.min(rows - first, MOST_ROWS)
      const xs = this.roomFor('inputs', MOST_ROWS * inputs)
      const outs = this.roomFor('outputs', MOST_ROWS * width)
      const { numbers } = this
      numbers.set(x.subarray(first * inputs, (first + count) * inputs), xs)
      for (let row = 0; row < count; row++) {
        const start = (first + row) * outputs
        numbers.set(bias ?? out.subarray(start, start + outputs), outs + row * width)
      }
      const fours = count - (count % 4)
      if (fours) this.ofFour(4 * place, 4 * xs, 4 * outs, inputs, width, fours)
      if (count > fours) this.ofOne(4 * place, 4 * (xs + fours * inputs), 4 * (outs + fours * width), inputs, width, count - fours)
      for (let row = 0; row < count; row++) {
        out.set(numbers.subarray(outs + row * width, outs + row * width + outputs), (first + row) * outputs)
      }
    }
  }
}

const padded = (outputs: number) => Math.ceil(outputs / PAD) * PAD

/** The kernel, or null where a browser has none: layers.ts then multiplies by itself. */
export const kernel: Kernel | null = (() => {
  try {
    return new Kernel()
  } catch {
    return null
  }
})()
