import type { Figure } from "./figure.ts";

const header = ["case", "work", "median", "ratio", "of", "low – high", "target", ""];

/** The figures as a table of text, widths fitted. */
export function formatTable(figures: readonly Figure[]): string {
  const rows = [header, ...figures.map(cells)];
  const widths = header.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const isNumber = (column: number): boolean => column === 2 || column === 3;
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return isNumber(column) ? cell.padStart(width) : cell.padEnd(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function cells(figure: Figure): readonly string[] {
  const { caseName, work, value, unit, of, spread, target, coverage } = figure;
  const range = `${formatNumber(spread.low)} – ${formatNumber(spread.high)}`;
  return [
    caseName,
    work,
    `${formatNumber(value)}${unit === "/s" ? unit : ` ${unit}`}`,
    of === undefined ? "" : formatNumber(spread.median),
    of === undefined ? "" : `x ${of}`,
    coverage === undefined ? range : `${range} (${Math.round(coverage * 100)} %)`,
    target?.text ?? "",
    target === undefined ? "" : target.isMet ? "met" : "NOT MET",
  ];
}

/** Three digits that matter, thousands apart. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString("en-US");
  if (value !== 0 && Math.abs(value) < 0.1) return value.toPrecision(3);
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}
