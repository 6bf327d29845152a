/** While a relay holds a key's events nobody sends the later ones, and a relay that was frozen past its lease sends nothing any more; relays that claim rows do both (law O2 d). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { leasedBatchesOutbox } from "../naive/leased-batches.ts";
import type { RelayedOutbox } from "../naive/outbox-design.ts";
import { skipLockedOutbox } from "../naive/skip-locked.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor, within } from "../support/wait-for.ts";
import { type Around, wrapPool } from "../support/wrap-pool.ts";
import { commitSteps, dureOutbox, sentOf, steps } from "./order-scenarios.ts";
import {
  createHandledDatabase,
  createTestService,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

let database: TestDatabase;
const started: TestService[] = [];

beforeEach(async () => {
  database = await createHandledDatabase("in_flight");
});
afterEach(async () => {
  for (const service of started.splice(0)) await service.stop();
  await database[Symbol.asyncDispose]();
});

async function start(options: Parameters<typeof createTestService>[0]): Promise<TestService> {
  const service = createTestService(options);
  started.push(service);
  await service.dure.start();
  return service;
}

const relay = { leaseMs: 1_000, pollMsMax: 50, batchSizeMax: 5 };

async function dureRelays(): Promise<RelayedOutbox> {
  const writer = await start({ pool: database.pool, relay: false });
  return {
    ...dureOutbox(writer, database.pool),
    async startHeldRelay({ isFrozen }) {
      const holding = Promise.withResolvers<void>();
      const go = Promise.withResolvers<void>();
      let isHolding = false;
      const freeze: Around = async (text, run) => {
        if (isFrozen && isHolding && text.includes("dure:claim.heartbeat")) await go.promise;
        return run();
      };
      const pool = wrapPool(database.pool, { alone: freeze, onClient: freeze });
      const held = await start({
        pool,
        relay,
        faults: {
          async hit(point) {
            if (point !== "relay.before-publish" || isHolding) return;
            isHolding = true;
            holding.resolve();
            await go.promise;
          },
        },
      });
      return {
        isHolding: holding.promise,
        async release() {
          go.resolve();
          if (!isFrozen) return waitForDrained(writer.dure);
          const refused = () =>
            held.logs.some(({ facts }) => String(facts?.["error"]).includes("has lost its lease"));
          await waitFor(refused, { what: "the refusal of what it held" });
        },
      };
    },
    async startFreeRelay() {
      await start({ pool: database.pool, relay });
      return { look: renewedTwice, drain: () => waitForDrained(writer.dure) };
    },
  };
}

/** The younger of the relays has renewed its lease twice: it has looked for work in between. */
async function renewedTwice(): Promise<void> {
  const lease = async () => {
    const { rows } = await database.pool.query<{ until: string }>(
      "select lease_until::text as until from dure.claim_member where scope = 'outbox' order by joined_at offset 1",
    );
    return rows[0]?.until;
  };
  for (let renewal = 0; renewal < 2; renewal += 1) {
    const before = await waitFor(lease, { what: "the younger relay's lease" });
    await waitFor(async () => (await lease()) !== before, { what: "its renewal" });
  }
}

/** Events 1 to 10 are there; one relay holds 1 to 5, another looks for work; then the first goes on. */
async function heldAndFree(outbox: RelayedOutbox) {
  await commitSteps(database.pool, outbox, steps("k", 1, 10));
  const held = await outbox.startHeldRelay({ isFrozen: false });
  await within(held.isHolding, { what: "the first batch" });
  const free = await outbox.startFreeRelay();
  await free.look();
  const whileHeld = await sentOf(outbox, "k");
  await held.release();
  await free.drain();
  return { whileHeld, inTheEnd: await sentOf(outbox, "k") };
}

/** A relay freezes with 1 to 5 in its hands until another has sent them, and 6 to 10; then it thaws. */
async function frozenAndThawed(outbox: RelayedOutbox) {
  await commitSteps(database.pool, outbox, steps("k", 1, 5));
  const held = await outbox.startHeldRelay({ isFrozen: true });
  await within(held.isHolding, { what: "the first batch" });
  const free = await outbox.startFreeRelay();
  await free.drain();
  await commitSteps(database.pool, outbox, steps("k", 6, 10));
  await free.drain();
  const whileFrozen = await sentOf(outbox, "k");
  await held.release();
  await free.drain();
  return { whileFrozen, inTheEnd: await sentOf(outbox, "k") };
}

const one = [1, 2, 3, 4, 5];
const ten = [...one, 6, 7, 8, 9, 10];

describe("while events 1 to 5 of a key are in flight", () => {
  it("Dure leaves 6 to 10 alone, however free another relay is", async () => {
    expect(await heldAndFree(await dureRelays())).toEqual({ whileHeld: [], inTheEnd: ten });
  });

  it("SKIP LOCKED gives 6 to 10 to another relay, which is first", async () => {
    expect(await heldAndFree(await skipLockedOutbox(database.pool))).toEqual({
      whileHeld: [6, 7, 8, 9, 10],
      inTheEnd: [6, 7, 8, 9, 10, ...one],
    });
  });
});

describe("a relay that was frozen past its lease with events 1 to 5 in its hands", () => {
  it("of Dure finds its lease over when it thaws, and sends nothing", async () => {
    expect(await frozenAndThawed(await dureRelays())).toEqual({ whileFrozen: ten, inTheEnd: ten });
  });

  it("that trusts its claim sends them again, behind 6 to 10", async () => {
    expect(await frozenAndThawed(await leasedBatchesOutbox(database.pool))).toEqual({
      whileFrozen: ten,
      inTheEnd: [...ten, ...one],
    });
  });
});
