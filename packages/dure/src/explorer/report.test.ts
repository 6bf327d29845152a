/** A report says what went wrong, and is green only when each planned point was reached. */
import { expect, it } from "vitest";
import type { CrashPoint } from "./crash-point.ts";
import { describeDifference } from "./difference.ts";
import { formatReport, type PointVerdict, reportOf } from "./report.ts";

const report = (verdict: PointVerdict, point: Partial<CrashPoint> = {}) =>
  reportOf({
    moduleUrl: "file:///checkout.scenario.ts",
    seed: 7,
    foundCount: 12,
    points: [
      {
        name: "begin",
        occurrence: 1,
        when: "before",
        isSteady: true,
        verdict: { kind: "held" },
        durationMs: 900,
      },
      {
        name: "commit",
        occurrence: 2,
        when: "answer-lost",
        isSteady: true,
        verdict,
        durationMs: 1_250,
        ...point,
      },
    ],
    durationMs: 2_150,
  });

it("tells the problems first, then each point", () => {
  const found = report({ kind: "violated", problems: ["moneyAgrees: 5 is missing", "a\nb"] });
  expect(found).toMatchObject({ verdict: "violated", exitCode: 1 });
  expect(formatReport(found))
    .toBe(`violated: 2 of 12 points of file:///checkout.scenario.ts, drawn by seed 7
1 held, 1 violated, 0 not reached, in 2.1 s

VIOLATED  answer lost of commit #2
  moneyAgrees: 5 is missing
  a
  b

held           0.9 s  killed before begin
violated       1.3 s  answer lost of commit #2`);
});

it("is incomplete when a steady point was not reached, and tells of one that comes now and then", () => {
  const missed = { kind: "not-reached", cameBy: 0, detail: "it ended" } as const;
  expect(report(missed)).toMatchObject({ verdict: "incomplete", exitCode: 2 });
  expect(report({ ...missed, cameBy: 1 })).toMatchObject({ verdict: "held", exitCode: 0 });
  const unsteady = report(missed, { isSteady: false });
  expect(unsteady).toMatchObject({ verdict: "held", exitCode: 0 });
  expect(formatReport(unsteady)).toContain("NOT-REACHED  answer lost of commit #2\n");
  expect(formatReport(unsteady)).toContain("answer lost of commit #2 (not in every run)");
  expect(report({ kind: "held" })).toMatchObject({ verdict: "held", exitCode: 0 });
});

it("names where two snapshots differ", () => {
  const before = { orders: [{ state: "paid", items: [1] }], money: 5 };
  const after = { orders: [{ state: "open", items: [] }], money: 5, extra: true };
  expect(describeDifference(before, after)).toBe(
    'orders[0].state: "paid" became "open"; orders[0].items[0]: 1 became nothing; extra: nothing became true',
  );
  expect(describeDifference([], {})).toBe("[] became {}");
  expect(describeDifference([1, 2, 3, 4, 5, 6, 7], [])).toContain("; and 2 more");
});
