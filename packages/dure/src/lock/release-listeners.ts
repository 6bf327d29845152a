/** Who of this process waits to be told that a lock is free. */
export class ReleaseListeners {
  readonly #listeners: Map<string, Set<() => void>> = new Map();

  /** Returns how to end it. */
  listen(subject: string, wake: () => void): () => void {
    const those = this.#listeners.get(subject) ?? new Set();
    this.#listeners.set(subject, those.add(wake));
    return () => {
      those.delete(wake);
      if (those.size === 0 && this.#listeners.get(subject) === those) {
        this.#listeners.delete(subject);
      }
    };
  }

  tell(subject: string): void {
    for (const wake of this.#listeners.get(subject) ?? []) wake();
  }

  tellAll(): void {
    for (const subject of this.#listeners.keys()) this.tell(subject);
  }
}
