import type { Delivery } from "../core/transport.ts";

/**
 * What was read of one partition and is not done, in order; knows up to where it may be committed: never
 * past a message that is not done, whatever was done behind it. In memory only: after a death the next
 * owner goes on from what was committed.
 */
export class PartitionBuffer {
  readonly #waiting: Delivery[] = [];
  /** Positions that are done, behind one that is not. */
  readonly #done: Set<number> = new Set();
  /** The next offset to read. */
  #next: bigint;
  #committed: bigint;

  /** @param isCommitted whether the broker keeps the start: a group that is new has none there yet */
  constructor(start: bigint, isCommitted = true) {
    this.#next = start;
    this.#committed = isCommitted ? start : -1n;
  }

  /** The offset that the next fetch asks for. */
  get next(): bigint {
    return this.#next;
  }

  /** Messages that are here and not done. */
  get size(): number {
    return this.#waiting.length;
  }

  /** The offset of the first message that is not done: what may be committed. */
  get lowest(): bigint {
    const first = this.#waiting[0];
    return first === undefined ? this.#next : BigInt(first.position);
  }

  /** What may be committed and was not; undefined: nothing. */
  get uncommitted(): bigint | undefined {
    return this.lowest > this.#committed ? this.lowest : undefined;
  }

  /** The broker keeps this offset. */
  committed(offset: bigint): void {
    if (offset > this.#committed) this.#committed = offset;
  }

  /** What a fetch from {@link next} brought, and where it ended: behind records that are no messages too. */
  append(deliveries: readonly Delivery[], next: bigint): void {
    for (const delivery of deliveries) {
      if (BigInt(delivery.position) >= this.#next) this.#waiting.push(delivery);
    }
    if (next > this.#next) this.#next = next;
  }

  /** Goes on elsewhere: what stood before this offset is not there any more. */
  skipTo(offset: bigint): void {
    this.#waiting.length = 0;
    this.#done.clear();
    this.#next = offset;
  }

  /** The first that are not done, in order. */
  peek(count: number): readonly Delivery[] {
    if (this.#done.size === 0) return this.#waiting.slice(0, count);
    return this.#waiting.filter(({ position }) => !this.#done.has(position)).slice(0, count);
  }

  /** These are done. What is not here is ignored: it was done before, or is read again later. */
  acknowledge(positions: readonly number[]): void {
    for (const position of positions) {
      const first = this.#waiting[0];
      if (first !== undefined && position >= first.position) this.#done.add(position);
    }
    let count = 0;
    for (const { position } of this.#waiting) {
      if (!this.#done.delete(position)) break;
      count += 1;
    }
    this.#waiting.splice(0, count);
    if (this.#waiting.length === 0) this.#done.clear();
  }
}
