/** Never more at once than there are permits, and nobody waits without an end. */
import { expect, test } from "vitest";
import { createPermits } from "./permits.ts";

/** Time that passes when the test says so. */
function heldTime() {
  const passed = Promise.withResolvers<void>();
  return { clock: { sleep: () => passed.promise }, pass: () => passed.resolve() };
}

test("permits go round in the order of the line, and one that is given back twice is one", async () => {
  const permits = createPermits({ max: 1, waitingMax: 2, clock: heldTime().clock });
  const first = await permits.take(1);
  const served: string[] = [];
  const second = permits.take(1).then((permit) => (served.push("second"), permit));
  const third = permits.take(1).then((permit) => (served.push("third"), permit));
  expect(await permits.take(1)).toBeUndefined();
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  const held = await second;
  expect(served).toEqual(["second"]);
  held?.[Symbol.dispose]();
  expect(await third).toBeDefined();
  expect(served).toEqual(["second", "third"]);
});

test("who waits for too long goes without, and takes nobody's place", async () => {
  const { clock, pass } = heldTime();
  const permits = createPermits({ max: 1, waitingMax: 1, clock });
  const held = await permits.take(1);
  const waiting = permits.take(1);
  pass();
  expect(await waiting).toBeUndefined();
  held?.[Symbol.dispose]();
  expect(await permits.take(1)).toBeDefined();
});
