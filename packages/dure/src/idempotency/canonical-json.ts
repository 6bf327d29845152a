/** Deeper than any document that people write, and far from the end of the stack. */
const depthMax = 500;

/**
 * A JSON value as text that does not depend on the order of its members or on spaces: RFC 8785 (JCS). Members are
 * sorted by UTF-16 code units; numbers and strings are written as ECMAScript writes them. What JSON leaves out
 * (`undefined`, functions) is left out, and what has `toJSON` is what that says.
 *
 * @throws RangeError when it is nested more than 500 deep
 * @throws TypeError when JSON cannot hold it: a bigint, for example
 */
export function canonicalJson(value: unknown): string {
  return write(value, "", 0) ?? "null";
}

function write(given: unknown, key: string, depth: number): string | undefined {
  if (depth > depthMax) throw new RangeError(`JSON is nested more than ${depthMax} deep`);
  const value = valueOf(given, key);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) {
    const items = value.map((item, index) => write(item, String(index), depth + 1) ?? "null");
    return `[${items.join(",")}]`;
  }
  const record = value as Readonly<Record<string, unknown>>;
  const members: string[] = [];
  // The default order of `toSorted` is that of UTF-16 code units.
  for (const name of Object.keys(record).toSorted()) {
    const text = write(record[name], name, depth + 1);
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(",")}}`;
}

function valueOf(given: unknown, key: string): unknown {
  const { toJSON } = (given ?? {}) as { readonly toJSON?: unknown };
  const value = typeof toJSON === "function" ? (toJSON.call(given, key) as unknown) : given;
  const isBoxed = value instanceof Number || value instanceof String || value instanceof Boolean;
  return isBoxed ? value.valueOf() : value;
}
