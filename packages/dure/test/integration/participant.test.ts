/** A participant does each step once, undoes what was done once, and refuses what comes after it was undone (law S3, protocol 5). */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { postgresParticipantBarrier } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createHandledDatabase, createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
const barrier = postgresParticipantBarrier();
const effects: string[] = [];

beforeAll(async () => {
  database = await createHandledDatabase("participant");
  service = createTestService({ pool: database.pool });
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const forward = (key: string, execute: () => Promise<unknown> = async () => ({ paid: 7 })) =>
  service.dure.transaction((tx) =>
    barrier.forward(tx, { key }, async () => {
      const answer = await execute();
      effects.push(`did ${key}`);
      return answer;
    }),
  );
const compensate = (key: string, own = `undo-${key}`) =>
  service.dure.transaction((tx) =>
    barrier.compensate(tx, { key: own, compensates: key }, async (answer) => {
      effects.push(`undid ${key}`);
      return { refunded: answer };
    }),
  );
const effectsOf = (key: string) => effects.filter((effect) => effect.endsWith(` ${key}`));

describe("a participant", () => {
  it("does a step once and answers it again, also when the answer is nothing", async () => {
    expect(await forward("a")).toEqual({ kind: "executed", answer: { paid: 7 } });
    expect(await forward("a")).toEqual({ kind: "replayed", answer: { paid: 7 } });
    expect(await forward("nothing", async () => undefined)).toMatchObject({ kind: "executed" });
    expect(await forward("nothing")).toEqual({ kind: "replayed", answer: null });
    expect(await compensate("nothing")).toMatchObject({ kind: "executed" });
    expect(effectsOf("a")).toEqual(["did a"]);
  });

  it("undoes once what was done, with the answer of then, and refuses to do it again", async () => {
    await forward("b");
    expect(await compensate("b")).toEqual({ kind: "executed", answer: { refunded: { paid: 7 } } });
    expect(await compensate("b")).toEqual({ kind: "replayed", answer: { refunded: { paid: 7 } } });
    await expect(forward("b")).rejects.toMatchObject({ code: "STEP_COMPENSATED" });
    expect(effectsOf("b")).toEqual(["did b", "undid b"]);
  });

  it("remembers that there was nothing to undo, and refuses the step that comes too late", async () => {
    expect(await compensate("c")).toEqual({ kind: "nothing-to-undo" });
    expect(await compensate("c")).toEqual({ kind: "nothing-to-undo" });
    await expect(forward("c")).rejects.toMatchObject({ code: "STEP_COMPENSATED" });
    expect(effectsOf("c")).toEqual([]);
  });

  it("remembers that it was refused: a late first attempt is refused too, where it would succeed now", async () => {
    const refuse = (key: string) =>
      service.dure.transaction((tx) =>
        barrier.refuse(tx, { key, reason: "OUT_OF_STOCK", message: "none left" }),
      );
    const refused = { kind: "refused", reason: "OUT_OF_STOCK", message: "none left" };
    expect(await refuse("r")).toEqual(refused);
    expect(await refuse("r")).toEqual(refused);
    await expect(forward("r")).rejects.toMatchObject({
      code: "STEP_REFUSED",
      reason: "OUT_OF_STOCK",
    });
    expect(await compensate("r")).toEqual({ kind: "nothing-to-undo" });
    await expect(forward("r")).rejects.toMatchObject({ code: "STEP_REFUSED" });
    expect(effectsOf("r")).toEqual([]);
    // Another attempt was executed between the refusal and its record: that one counts.
    await forward("s");
    expect(await refuse("s")).toEqual({ kind: "replayed", answer: { paid: 7 } });
    await compensate("s");
    await expect(refuse("s")).rejects.toMatchObject({ code: "STEP_COMPENSATED" });
    const alone = barrier.refuse(database.pool, { key: "t", reason: "R", message: "m" });
    await expect(alone).rejects.toMatchObject({ code: "NOT_IN_TRANSACTION" });
    expect(await forward("t")).toMatchObject({ kind: "executed" });
  });

  it("is refused outside a transaction, where its record would stand alone", async () => {
    const undo = async () => "undone";
    const alone = [
      barrier.forward(database.pool, { key: "alone" }, undo),
      barrier.compensate(database.pool, { key: "undo-alone", compensates: "alone" }, undo),
    ];
    for (const call of alone)
      await expect(call).rejects.toMatchObject({ code: "NOT_IN_TRANSACTION" });
    expect(await forward("alone")).toMatchObject({ kind: "executed" });
  });

  it("records nothing when its transaction rolls back: the step may be done later", async () => {
    const failing = forward("d", async () => {
      throw new Error("no stock");
    });
    await expect(failing).rejects.toThrow("no stock");
    expect(await forward("d")).toMatchObject({ kind: "executed" });
  });

  it.for([
    { first: "forward", second: "compensate", expected: ["did", "undid"] },
    { first: "compensate", second: "forward", expected: [] },
  ] as const)(
    "lets the second wait when $first and $second come at the same time",
    async ({ first, second, expected }) => {
      const key = `race-${first}`;
      let finish = (): void => {};
      const held = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const acts = { forward: () => forward(key), compensate: () => compensate(key) };
      const holding = service.dure.transaction(async (tx) => {
        if (first === "forward") {
          await barrier.forward(tx, { key }, async () => {
            effects.push(`did ${key}`);
            return { paid: 7 };
          });
        } else
          await barrier.compensate(
            tx,
            { key: `undo-${key}`, compensates: key },
            async () => undefined,
          );
        await held;
      });
      const waiting = async () =>
        (
          await database.pool.query(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
          )
        ).rowCount === 1;
      await waitFor(
        async () =>
          (
            await database.pool.query(
              "select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'",
            )
          ).rowCount === 1,
        { what: "the first" },
      );
      const later = acts[second]().then(
        ({ kind }) => kind,
        (error: { code: string }) => error.code,
      );
      await waitFor(waiting, { what: "the wait of the second" });
      finish();
      await holding;
      expect(await later).toBe(second === "compensate" ? "executed" : "STEP_COMPENSATED");
      expect(effectsOf(key)).toEqual(expected.map((what) => `${what} ${key}`));
    },
  );

  it("does a step once for twenty callers at the same time", async () => {
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => forward("many")));
    expect(outcomes.filter(({ kind }) => kind === "executed")).toHaveLength(1);
    expect(effectsOf("many")).toEqual(["did many"]);
  });
});
