/** Permits of a process that is killed or frozen come back within its lease, its places leave the line, and the line is served in its order over processes (law L4). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type SemaphorePlace } from "../../src/admin/index.ts";
import { createDure, type Dure } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

let database: TestDatabase;
let dure: Dure;
let children: SpawnedChild[];
beforeEach(async () => {
  database = await createTestDatabase({ name: "semaphore_crash" });
  dure = createDure({ service: "looker", store: postgresStore({ pool: database.pool }) });
  children = [];
});
afterEach(async () => {
  for (const child of children) await child[Symbol.asyncDispose]();
  await dure.stop();
  await database[Symbol.asyncDispose]();
});

function start(name: string, leaseMs = 1_000): SpawnedChild {
  const env = {
    DURE_CHILD_URL: database.url,
    DURE_CHILD_NAME: name,
    DURE_CHILD_LEASE_MS: String(leaseMs),
  };
  const child = spawnChild(new URL("semaphore-child.ts", import.meta.url), { env });
  children.push(child);
  return child;
}

const places = (): Promise<readonly SemaphorePlace[]> => dure.semaphores.places("provider");
const waits = (count: number) =>
  waitFor(
    async () => (await places()).filter(({ state }) => state === "WAITING").length === count,
    { what: `a line of ${count}` },
  );
const said = (child: SpawnedChild, key: string, name: string) =>
  child.waitForMessage(
    (message): message is Record<string, string> => hasField(key)(message) && message[key] === name,
  );
const heardOf = (child: SpawnedChild, key: string): readonly unknown[] =>
  child.messages.filter(hasField(key)).map((message) => message[key]);

async function take(child: SpawnedChild, name: string): Promise<void> {
  child.send(`take ${name}`);
  await said(child, "held", name);
}

async function queueUp(child: SpawnedChild, name: string, length: number): Promise<void> {
  child.send(`take ${name}`);
  await waits(length);
}

describe("a semaphore", () => {
  it("serves two processes in the order in which they asked", async () => {
    const [a, b] = [start("a"), start("b")];
    await take(a, "1");
    await take(b, "2");
    const line = ["3a", "4b", "5b", "6a", "7b", "8a"];
    for (const [n, name] of line.entries()) {
      await queueUp(name.endsWith("a") ? a : b, name, n + 1);
    }
    const order = (await places()).flatMap((each) =>
      each.state === "WAITING" ? [`${each.position} ${each.process.split("/")[0]}`] : [],
    );
    expect(order).toEqual(line.map((name, n) => `${n + 1} ${name.slice(1)}`));
    let giver: [SpawnedChild, string] = [a, "1"];
    for (const [n, name] of line.entries()) {
      giver[0].send(`give ${giver[1]}`);
      const next = name.endsWith("a") ? a : b;
      await said(next, "held", name);
      expect(heardOf(a, "held").length + heardOf(b, "held").length).toBe(n + 3);
      giver = [next, name];
    }
  });

  it("gets the permits of a killed process back within its lease, and its places leave the line", async () => {
    const [a, b, c] = [start("a"), start("b"), start("c")];
    await take(a, "1");
    await take(b, "2");
    await queueUp(a, "3", 1);
    await queueUp(b, "4", 2);
    await queueUp(c, "5", 3);
    a.kill("SIGKILL");
    await a.exited;
    // The killed one's permit goes to the second of the line: the first was its own.
    await said(b, "held", "4");
    expect(heardOf(c, "held")).toEqual([]);
    expect((await places()).map(({ process }) => process.split("/")[0])).toEqual(["b", "b", "c"]);
    b.send("give 2");
    await said(c, "held", "5");
  });

  it("gets those of a frozen process back, and thawed that one hears that they are lost, and joins anew", async () => {
    const [frozen, other] = [start("frozen"), start("other")];
    await take(frozen, "1");
    await take(frozen, "2");
    await queueUp(frozen, "3", 1);
    await queueUp(other, "4", 2);
    frozen.kill("SIGSTOP");
    await said(other, "held", "4");
    other.send("take 5");
    await said(other, "held", "5");
    expect(heardOf(frozen, "lost")).toEqual([]);
    frozen.kill("SIGCONT");
    for (const name of ["1", "2"]) {
      expect(await said(frozen, "lost", name)).toMatchObject({ code: "PERMIT_LOST" });
    }
    // What waited waits again, as another member and at the end of the line.
    await waits(1);
    const counted = (await places()).map(
      ({ process, state }) => `${process.split("/")[0]} ${state}`,
    );
    expect(counted).toEqual(["other HELD", "other HELD", "frozen WAITING"]);
    other.send("give 4");
    await said(frozen, "held", "3");
  });

  it("takes nothing from a process that was frozen for less than its lease", async () => {
    const [a, b] = [start("a", 20_000), start("b", 20_000)];
    await take(a, "1");
    await take(a, "2");
    await queueUp(b, "3", 1);
    const before = await places();
    a.kill("SIGSTOP");
    await waitFor(async () => ((await places())[0]?.leaseMsLeft ?? 0) < 17_500, {
      what: "some of the lease to pass",
    });
    a.kill("SIGCONT");
    // A heartbeat: it lives.
    await waitFor(async () => ((await places())[0]?.leaseMsLeft ?? 0) > 19_000, {
      what: "a renewal",
      timeoutMs: 20_000,
    });
    expect((await places()).map(({ id, state }) => [id, state])).toEqual(
      before.map(({ id, state }) => [id, state]),
    );
    expect(heardOf(a, "lost")).toEqual([]);
    a.send("give 1");
    await said(b, "held", "3");
  });

  it("gives everything back at once when a process stops in good order", async () => {
    const [a, b] = [start("a", 60_000), start("b")];
    await take(a, "1");
    await take(a, "2");
    await queueUp(b, "3", 1);
    a.send("stop");
    await said(b, "held", "3");
    expect(await a.waitForExit()).toEqual({ code: 0, signal: null });
  });
});
