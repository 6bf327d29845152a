/**
 * A map whose entries come and go by the thousand a second.
 *
 * V8's own `Map` is a poor place for them: a table that it has outgrown points to the next one, and one that has
 * come to the old generation keeps all that follow, and all that stood in them, from the young collections.
 * Here a value is let go of when it is taken out, whatever still points to its place: a tenth of the processor
 * time of a saga in Node.
 */
export class TurnoverMap<Value> {
  readonly #places: Map<string, { value: Value | undefined }> = new Map();

  get size(): number {
    return this.#places.size;
  }

  has(key: string): boolean {
    return this.#places.has(key);
  }

  get(key: string): Value | undefined {
    return this.#places.get(key)?.value;
  }

  set(key: string, value: Value): void {
    const place = this.#places.get(key);
    if (place === undefined) this.#places.set(key, { value });
    else place.value = value;
  }

  delete(key: string): void {
    const place = this.#places.get(key);
    if (place === undefined) return;
    place.value = undefined;
    this.#places.delete(key);
  }

  clear(): void {
    for (const place of this.#places.values()) place.value = undefined;
    this.#places.clear();
  }

  keys(): Iterable<string> {
    return this.#places.keys();
  }

  *values(): Generator<Value, void> {
    // One that is taken out meanwhile is passed over, as a map does.
    for (const { value } of this.#places.values()) if (value !== undefined) yield value;
  }
}
