import { expect, test } from "vitest";
import { formatPence, readPounds } from "./money.ts";

test.each([
  ["2.55", 255, false],
  ["1.005", 101, true],
  ["0.085", 9, true],
  ["0.084", 8, true],
  ["2.5", 250, false],
  ["7", 700, false],
  ["0", 0, false],
  ["0.001", 0, true],
  ["13541.33", 1_354_133, false],
  ["1.100", 110, false],
  ["-11062.06", -1_106_206, false],
  ["-0", 0, false],
  [" 3.39 ", 339, false],
  ["3.", 300, false],
])("%s pounds are %i pence", (text, pence, isRounded) => {
  expect(readPounds(text)).toEqual({ kind: "price", pence, isRounded });
});

test.each(["", "2,55", "£2.55", "1e3", "abc", "--1", "NaN", ".", "99999999999"])(
  "%j is no price",
  (text) => {
    expect(readPounds(text)).toEqual({ kind: "unreadable" });
  },
);

test("pence are printed with all their digits", () => {
  expect([0, 5, 255, 123_456, 123_456_789, -1999].map(formatPence)).toEqual([
    "0.00",
    "0.05",
    "2.55",
    "1,234.56",
    "1,234,567.89",
    "-19.99",
  ]);
});
