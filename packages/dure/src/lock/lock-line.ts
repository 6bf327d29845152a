import type { Clock } from "../core/clock.ts";

/** The turn of one of those of this process who want a key. Ends it; the next one's begins. */
export type EndTurn = () => void;

interface Place {
  readonly take: () => void;
}

/**
 * Who of this process wants which lock: one at a time asks the store, the others stand behind it in the order in
 * which they came. So a store is asked by each process once, however many wait there.
 */
export class LockLine {
  readonly #clock: Clock;
  readonly #lines: Map<string, Place[]> = new Map();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when it is our turn; undefined: not within `waitMs`, or `signal` aborted before. */
  async enter(key: string, waitMs: number, signal: AbortSignal): Promise<EndTurn | undefined> {
    const line = this.#lines.get(key) ?? [];
    this.#lines.set(key, line);
    const turn = new AbortController();
    const place: Place = { take: () => turn.abort() };
    line.push(place);
    const leave = (): void => this.#leave(key, line, place);
    if (line[0] === place) return leave;
    const over = AbortSignal.any([turn.signal, signal]);
    await this.#clock.sleep(waitMs, over);
    if (line[0] === place && !signal.aborted) return leave;
    leave();
    return undefined;
  }

  #leave(key: string, line: Place[], place: Place): void {
    const index = line.indexOf(place);
    if (index < 0) return;
    line.splice(index, 1);
    if (index === 0) line[0]?.take();
    if (line.length === 0 && this.#lines.get(key) === line) this.#lines.delete(key);
  }
}
