/**
 * Rows as text, each column as wide as its widest cell. Control characters are shown as escapes: keys and
 * errors come from outside, and a terminal would obey them.
 */
export function alignColumns(
  rows: readonly (readonly string[])[],
  options?: {
    /** Columns that are aligned to the right. */
    readonly right?: readonly number[];
    /** Longest cell; what is longer is cut. @defaultValue 60 */
    readonly widthMax?: number;
  },
): string {
  const shown = rows.map((row) => row.map((cell) => cut(visible(cell), options?.widthMax ?? 60)));
  const count = Math.max(0, ...shown.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(0, ...shown.map((row) => widthOf(row[column] ?? ""))),
  );
  const lines = shown.map((row) =>
    row.map((cell, column) => {
      const gap = " ".repeat((widths[column] ?? 0) - widthOf(cell));
      return options?.right?.includes(column) === true ? gap + cell : cell + gap;
    }),
  );
  return lines.map((cells) => cells.join("  ").trimEnd()).join("\n");
}

/** The text with every control and direction character as a visible escape. */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

function cut(text: string, widthMax: number): string {
  const characters = Array.from(text);
  return characters.length > widthMax ? `${characters.slice(0, widthMax - 1).join("")}…` : text;
}

const wide =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\uff01-\uff60]/u;

/** Columns on a terminal, near enough for a table. */
function widthOf(text: string): number {
  return Array.from(text).reduce((width, character) => width + (wide.test(character) ? 2 : 1), 0);
}
