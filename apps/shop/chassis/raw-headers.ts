/**
 * Every value that was sent under a name in lower case. The parsed headers would join repeated ones
 * with a comma, which a key may contain.
 */
export function headerValues(rawHeaders: readonly string[], name: string): readonly string[] {
  return rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name);
}
