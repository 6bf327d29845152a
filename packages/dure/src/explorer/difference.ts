const DIFFERENCES_MAX = 5;
const CHARS_MAX = 160;

/** Where two snapshots differ, for people: `orders[0].state: "paid" became "open"`. */
export function describeDifference(expected: unknown, found: unknown): string {
  const all = differences(expected, found, "");
  const rest = all.length - DIFFERENCES_MAX;
  const shown = all.slice(0, DIFFERENCES_MAX);
  return `${shown.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
}

function differences(expected: unknown, found: unknown, path: string): readonly string[] {
  if (isTree(expected) && isTree(found) && Array.isArray(expected) === Array.isArray(found)) {
    const keys = new Set([...Object.keys(expected), ...Object.keys(found)]);
    return [...keys].flatMap((key) => {
      const step = Array.isArray(expected) ? `[${key}]` : `${path === "" ? "" : "."}${key}`;
      return differences(expected[key], found[key], `${path}${step}`);
    });
  }
  if (expected === found) return [];
  return [`${path === "" ? "" : `${path}: `}${shown(expected)} became ${shown(found)}`];
}

function isTree(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX - 1)}…` : text;
}
