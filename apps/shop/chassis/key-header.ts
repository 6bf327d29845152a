/** The longest key, counted after unquoting. */
export const keyLengthMax = 255;

/** Why a header's value is no key, in words for the caller. */
export class KeySyntaxError extends Error {
  override readonly name = "KeySyntaxError";
}

/**
 * Every value that was sent under one of the names, which are in lower case. The parsed headers
 * would join repeated ones with a comma, which a key may contain.
 */
export function headerValues(
  rawHeaders: readonly string[],
  names: readonly string[],
): readonly string[] {
  return rawHeaders.filter((_, at) => {
    const name = at % 2 === 1 ? rawHeaders[at - 1]?.toLowerCase() : undefined;
    return names.some((each) => each === name);
  });
}

/**
 * The key in a header: a structured-field string in quotes, or the bare value.
 *
 * @throws KeySyntaxError when it is empty, too long, badly quoted or not printable ASCII
 */
export function parseKey(header: string): string {
  const value = header.trim();
  const key = value.startsWith('"') ? unquote(value) : value;
  if (key === "") throw new KeySyntaxError("The key is empty.");
  if (key.length > keyLengthMax) {
    throw new KeySyntaxError(`A key has at most ${keyLengthMax} characters.`);
  }
  if (!/^[\x20-\x7e]+$/.test(key)) {
    throw new KeySyntaxError("A key consists of printable ASCII characters.");
  }
  return key;
}

/** The key as a structured-field string, so that one with a leading quote survives the trip. */
export function quoteKey(key: string): string {
  return `"${key.replaceAll(/["\\]/g, "\\$&")}"`;
}

/** RFC 9651: between the quotes, a backslash may precede a quote or a backslash only. */
function unquote(value: string): string {
  const inner = /^"((?:[^"\\]|\\["\\])*)"$/.exec(value)?.[1];
  if (inner === undefined) throw new KeySyntaxError("The key is not quoted correctly.");
  return inner.replaceAll(/\\(["\\])/g, "$1");
}
