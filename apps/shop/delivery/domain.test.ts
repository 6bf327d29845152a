import { expect, test } from "vitest";
import { restMs, startKey, statusAfter } from "./domain.ts";

test("the carrier's answer decides", () => {
  expect([statusAfter("accepted"), statusAfter("refused")]).toEqual(["STARTED", "REFUSED"]);
  expect(startKey("SAGA-1")).toBe("SAGA-1-delivery-start");
});

test("a rest doubles up to ten seconds, and chance spreads it", () => {
  const almostOne = { random: () => 0.999 };
  expect([1, 2, 3, 20].map((failures) => restMs(failures, almostOne))).toEqual([
    99, 199, 399, 9990,
  ]);
  expect(restMs(5, { random: () => 0 })).toBe(0);
});
