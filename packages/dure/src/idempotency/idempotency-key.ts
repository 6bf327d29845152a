/** The longest key, counted after unquoting. */
export const keyLengthMax = 255;

/** What a request says of its key. */
export type ReadKey =
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "missing" }
  /** `reason`: in words for the caller. */
  | { readonly kind: "invalid"; readonly reason: string };

/** The headers that may carry a key, in lower case: the draft's, and the older one. */
export const keyHeaders: readonly string[] = ["idempotency-key", "x-idempotency-key"];

/**
 * The key of a request. Each header may be a structured-field string in quotes (RFC 8941) or the bare value,
 * which are the same key; several that say the same are one.
 *
 * Source: draft-ietf-httpapi-idempotency-key-header.
 */
export function readIdempotencyKey(header: (name: string) => readonly string[]): ReadKey {
  return readKey(keyHeaders.flatMap((name) => header(name)));
}

/** The forward key that a compensating call undoes, from its `Compensates` header; written and read as a key is. */
export function readCompensatedKey(header: (name: string) => readonly string[]): ReadKey {
  return readKey(header("compensates"));
}

function readKey(values: readonly string[]): ReadKey {
  const keys = new Set<string>();
  for (const value of values) {
    const read = parseKey(value);
    if (read.kind !== "key") return read;
    keys.add(read.key);
  }
  const [key, ...others] = keys;
  if (key === undefined) return { kind: "missing" };
  if (others.length === 0) return { kind: "key", key };
  return invalid("The request carries two different keys.");
}

/** The key as a structured-field string, so that one with a leading quote survives the trip. */
export function quoteIdempotencyKey(key: string): string {
  return `"${key.replaceAll(/["\\]/g, "\\$&")}"`;
}

function parseKey(header: string): ReadKey {
  const value = header.trim();
  // RFC 8941, 3.3.3: between the quotes a backslash may stand before a quote or a backslash only.
  const quoted = /^"((?:[^"\\]|\\["\\])*)"$/.exec(value)?.[1];
  if (value.startsWith('"') && quoted === undefined) {
    return invalid("The key is not quoted correctly.");
  }
  const key = quoted?.replaceAll(/\\(["\\])/g, "$1") ?? value;
  if (key === "") return invalid("The key is empty.");
  if (key.length > keyLengthMax) {
    return invalid(`A key has at most ${keyLengthMax} characters.`);
  }
  if (!/^[\x20-\x7e]+$/.test(key)) {
    return invalid("A key consists of printable ASCII characters.");
  }
  return { kind: "key", key };
}

function invalid(reason: string): ReadKey {
  return { kind: "invalid", reason };
}
