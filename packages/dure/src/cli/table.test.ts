/** What comes from outside cannot break the table or steer the terminal. */
import { expect, it } from "vitest";
import { alignColumns } from "./table.ts";

it("aligns columns, wide characters too", () => {
  const rows = [
    ["ID", "KEY", "N"],
    ["7", "두레", "10"],
    ["12", "abcdef", "5"],
  ];
  expect(alignColumns(rows, { right: [2] })).toBe("ID  KEY      N\n7   두레    10\n12  abcdef   5");
});

it("shows control and direction characters as escapes and cuts what is long", () => {
  const [line] = alignColumns([["a\u001b[31m\nb\u202e", "x".repeat(100)]], { widthMax: 30 }).split(
    "\n",
  );
  expect(line).toBe(`a\\u{1b}[31m\\u{a}b\\u{202e}  ${"x".repeat(29)}…`);
});

it("makes nothing of no rows", () => {
  expect(alignColumns([])).toBe("");
});
