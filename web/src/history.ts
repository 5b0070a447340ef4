/** Undo and redo over values. */

/** A value with those before it and after it, the nearest last. */
export interface States<T> {
  past: T[]
  now: T
  future: T[]
}

export class History<T> {
  private past: T[] = []
  private future: T[] = []
  private merging: string | null = null

  constructor(private current: T, private readonly most = 100) {}

  get value(): T {
    return this.current
  }

  /** The value, and so many of those that undo and redo bring back. */
  states(most: number): States<T> {
    return { past: this.past.slice(-most), now: this.current, future: this.future.slice(-most) }
  }

  load({ past, now, future }: States<T>): void {
    this.past = [...past]
    this.future = [...future]
    this.current = now
    this.merging = null
  }

  /** Another value in place of this one, which is not to be brought back. */
  amend(value: T): void {
    this.current = value
  }

  get canUndo(): boolean {
    return this.past.length > 0
  }

  get canRedo(): boolean {
    return this.future.length > 0
  }

  /**
   * A new value.
   *
   * @param merge changes of the same name, one after the other, are undone as one (a stroke, a slider)
   */
  push(value: T, merge: string | null = null): void {
    if (value === this.current) return
    if (merge === null || merge !== this.merging) {
      this.past.push(this.current)
      if (this.past.length > this.most) this.past.shift()
    }
    this.future = []
    this.current = value
    this.merging = merge
  }

  /** The next change is undone by itself. */
  seal(): void {
    this.merging = null
  }

  undo(): boolean {
    const value = this.past.pop()
    if (value === undefined) return false
    this.future.push(this.current)
    this.current = value
    this.merging = null
    return true
  }

  redo(): boolean {
    const value = this.future.pop()
    if (value === undefined) return false
    this.past.push(this.current)
    this.current = value
    this.merging = null
    return true
  }
}
