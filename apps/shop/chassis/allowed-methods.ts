/** Remembers which methods each route pattern answers, to tell 405 from 404. */
export interface AllowedMethods {
  add(pattern: string, method: string | readonly string[]): void;
  /** The methods of every pattern that matches the path, sorted; empty when none does. */
  of(path: string): readonly string[];
}

/** An empty memory of routes. */
export function createAllowedMethods(): AllowedMethods {
  const methodsByPattern = new Map<string, Set<string>>();
  return {
    add(pattern, method) {
      const known = methodsByPattern.get(pattern) ?? new Set();
      for (const each of [method].flat()) known.add(each);
      methodsByPattern.set(pattern, known);
    },
    of(path) {
      const found = new Set<string>();
      for (const [pattern, methods] of methodsByPattern) {
        if (matches(pattern, path)) for (const method of methods) found.add(method);
      }
      return [...found].sort();
    },
  };
}

/** Route patterns of the shop are plain segments, `:parameters` and a trailing `*`. */
function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.at(-1) === "*") {
    return wanted.slice(0, -1).every((segment, at) => segmentMatches(segment, given[at]));
  }
  return (
    wanted.length === given.length &&
    wanted.every((segment, at) => segmentMatches(segment, given[at]))
  );
}

function segmentMatches(pattern: string, segment: string | undefined): boolean {
  if (segment === undefined) return false;
  return pattern.startsWith(":") ? segment !== "" : pattern === segment;
}
