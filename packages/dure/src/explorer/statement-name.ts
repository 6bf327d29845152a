const CHARS_MAX = 60;

/**
 * What a statement is called in a report: the name in its leading comment, else its text with the spaces folded
 * and cut. Values that were written into the text are left out, so that a name is the same in each run.
 */
export function statementName(text: string): string {
  const [, named] = /^\s*\/\*\s*([\w:./-]+)\s*\*\//.exec(text) ?? [];
  const endsWithCommit = /;\s*commit\s*;?\s*$/i.test(text);
  if (named !== undefined) return endsWithCommit ? `${named} + commit` : named;
  const folded = text
    .replaceAll(/'(?:[^']|'')*'/g, "'…'")
    .replaceAll(/\s+/g, " ")
    .trim();
  return folded.length > CHARS_MAX ? `${folded.slice(0, CHARS_MAX - 1)}…` : folded;
}
