/** A failure is said once for as long as it comes and goes (law X3). */
import { expect, it } from "vitest";
import { manualClock } from "../testing/manual-clock.ts";
import { createTrouble } from "./trouble.ts";

it("says one trouble once, and its end when nothing has failed for the time given", () => {
  const clock = manualClock();
  const said: string[] = [];
  const trouble = createTrouble({
    clock,
    settleMs: 1_000,
    say: (error) => void said.push(String(error)),
    sayOver: () => void said.push("over"),
  });
  trouble.succeeded();
  expect(said).toEqual([]);
  for (let round = 0; round < 100; round += 1) {
    trouble.failed("down");
    clock.advance(500);
    trouble.succeeded();
  }
  expect(said).toEqual(["down"]);
  clock.advance(500);
  trouble.succeeded();
  trouble.succeeded();
  expect(said).toEqual(["down", "over"]);
  trouble.failed("again");
  expect(said).toEqual(["down", "over", "again"]);
});
