/** Sagas that nobody can drive are named once for as long as it lasts, and again when it happens again. */
import { expect, it } from "vitest";
import { manualClock } from "../testing/manual-clock.ts";
import { silentLogger } from "../core/logger.ts";
import { createLeftBehindWatch } from "./left-behind.ts";

it("names a version that no process knows once, until it is taken", async () => {
  const clock = manualClock();
  const said: string[] = [];
  let found = [{ definition: "old", version: 1, count: 3 }];
  const look = createLeftBehindWatch({
    store: { leftBehind: async () => found },
    plans: new Map(),
    clock,
    logger: { ...silentLogger, error: (message) => void said.push(message) },
  });
  await look();
  await look();
  clock.advance(61_000);
  await look();
  expect(said).toHaveLength(1);
  expect(said[0]).toContain("sagas of old@1 stand still");
  found = [];
  clock.advance(61_000);
  await look();
  found = [{ definition: "old", version: 1, count: 1 }];
  clock.advance(61_000);
  await look();
  expect(said).toHaveLength(2);
});
