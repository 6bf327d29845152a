/** What a broker has lost is published again from the outbox: in order, before anything newer, of what is asked for (laws O2, X5). */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  emitSteps,
  logMessages,
  stepTaken,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

const run = promisify(execFile);
const node: string = fileURLToPath(new URL("../../../../node_modules/.bin/node", import.meta.url));
const main: string = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const by = { actor: "ada", reason: "the broker lost it" };

let database: TestDatabase;
let service: TestService;
beforeEach(async () => {
  database = await createHandledDatabase("relay_republish");
  service = createTestService({ pool: database.pool });
  await service.dure.start();
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const numbersOf = async (key: string): Promise<readonly number[]> =>
  (await logMessages(database.pool))
    .filter((message) => message.key === key)
    .map((message) => (JSON.parse(message.data) as { n: number }).n);

it("goes before what waits, and keeps the order of each key", async () => {
  for (const key of ["a", "b", "c"]) await emitSteps(service.dure, key, { to: 4 });
  await waitForDrained(service.dure);
  await service.dure.relay.pause(by);
  for (const key of ["a", "b", "c"]) await emitSteps(service.dure, key, { from: 5, to: 6 });
  const { stdout } = await run(
    node,
    // As a shell does; the database's name stands in the environment.
    [
      "--conditions=dure-source",
      main,
      "relay",
      "republish",
      "--since",
      "2020-01-01T00:00:00Z",
    ].concat(["--topic", stepTaken.topic, "--actor", "ada", "--reason", "lost", "--json"]),
    { env: { ...process.env, NODE_OPTIONS: "", DATABASE_URL: database.url } },
  );
  const shards = JSON.parse(stdout) as readonly { moved: number; incarnation: number }[];
  expect(shards.reduce((sum, { moved }) => sum + moved, 0)).toBe(18);
  expect(new Set(shards.map(({ incarnation }) => incarnation))).toEqual(new Set([2]));
  await service.dure.relay.resume(by);
  await waitFor(async () => (await numbersOf("c")).length === 10, { what: "all of it again" });
  await waitForDrained(service.dure);
  for (const key of ["a", "b", "c"]) {
    expect(await numbersOf(key)).toEqual([1, 2, 3, 4, 1, 2, 3, 4, 5, 6]);
  }
  expect((await service.dure.relay.status()).shards.some(({ isSetBack }) => isSetBack)).toBe(false);
  const { rows } = await database.pool.query(
    "select subject from dure.audit_entry where action = 'relay.republish'",
  );
  expect(rows).toEqual([{ subject: "outbox/step since 2020-01-01T00:00:00.000Z" }]);
});

it("leaves what is older and other topics alone, and refuses what is no time", async () => {
  await emitSteps(service.dure, "a", { to: 2 });
  await waitForDrained(service.dure);
  const { relay } = service.dure;
  expect(await relay.republish({ ...by, since: "2999-01-01T00:00:00Z" })).toEqual([]);
  expect(await relay.republish({ ...by, topic: "other", since: "2020-01-01" })).toEqual([]);
  await expect(relay.republish({ ...by, since: "yesterday" })).rejects.toThrow(/since/);
  await emitSteps(service.dure, "a", { from: 3, to: 3 });
  await waitForDrained(service.dure);
  expect(await numbersOf("a")).toEqual([1, 2, 3]);
});
