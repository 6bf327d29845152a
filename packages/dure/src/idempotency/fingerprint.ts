import { createHash } from "node:crypto";
import { canonicalJson } from "./canonical-json.ts";

/** What makes a request this request and no other. */
export interface FingerprintParts {
  readonly method: string;
  /** The path and the query, as they were sent. */
  readonly route: string;
  readonly principal: string;
  /** The body: bytes as they are, any other value as canonical JSON. */
  readonly content: unknown;
}

/**
 * The fingerprint of a request: 32 hexadecimal digits. The same request has the same one in whatever order the
 * members of its JSON come; any other method, route, principal or content has another.
 *
 * @throws RangeError, TypeError as {@link canonicalJson}
 */
export function fingerprintOf(parts: FingerprintParts): string {
  const { method, route, principal, content } = parts;
  const isBytes = content instanceof Uint8Array;
  const hash = createHash("sha256");
  // Lengths stand in JSON, so that no part can be taken for the beginning of the next.
  hash.update(JSON.stringify([method.toUpperCase(), route, principal, isBytes]));
  hash.update(isBytes ? content : canonicalJson(content));
  return hash.digest("hex").slice(0, 32);
}

/** The record's id of a key in its scope: 32 hexadecimal digits. */
export function keyIdOf(scope: string, key: string): string {
  return createHash("sha256")
    .update(JSON.stringify([scope, key]))
    .digest("hex")
    .slice(0, 32);
}
