/** An operator sees who holds permits and who waits, changes how many there are while they are in use, and takes one away: each with a record of who and why (law X5). */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDure, type Dure } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";

const node: string = fileURLToPath(new URL("../../../../node_modules/.bin/node", import.meta.url));
const main: string = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const by = { actor: "ada", reason: "provider is slow" };
const one = { permits: 1, lineMax: 5, waitMs: 20_000 };

let database: TestDatabase;
let first: Dure;
let second: Dure;
beforeEach(async () => {
  database = await createTestDatabase({ name: "semaphore_operators" });
  [first, second] = [1, 2].map((n) =>
    createDure({ service: `caller-${n}`, store: postgresStore({ pool: database.pool }) }),
  ) as [Dure, Dure];
});
afterEach(async () => {
  await Promise.all([first.stop(), second.stop()]);
  await database[Symbol.asyncDispose]();
});

const status = async () => (await first.semaphores.list()).find(({ name }) => name === "provider");
const audit = async () =>
  (
    await database.pool.query<{ line: string }>(
      "select concat_ws(' ', action, subject, actor, reason) as line from dure.audit_entry order by id",
    )
  ).rows.map(({ line }) => line);

/** Runs `dure semaphores …` as a shell does. */
function semaphores(
  ...args: readonly string[]
): Promise<{ readonly exitCode: number; readonly out: string; readonly error: string }> {
  const env = { ...process.env, NODE_OPTIONS: "", DATABASE_URL: database.url };
  return new Promise((resolve) => {
    execFile(
      node,
      ["--conditions=dure-source", main, "semaphores", ...args],
      { env, timeout: 30_000 },
      (failure, out, error) =>
        resolve({ exitCode: failure === null ? 0 : Number(failure.code), out, error }),
    );
  });
}

describe("an operator", () => {
  it("changes the number of permits while they are in use, against the code, until it is reset", async () => {
    const held = await first.semaphores.acquire("provider", one);
    const waiting = second.semaphores.acquire("provider", one);
    await waitFor(async () => (await status())?.waiting === 1, { what: "a line" });
    await first.semaphores.set("provider", { permits: 2 }, by);
    const next = await waiting;
    expect(await status()).toMatchObject({ permits: 2, declaredPermits: 1, isSet: true, held: 2 });
    await first.semaphores.set("provider", { permits: 0, lineMax: 1 }, by);
    expect(held.signal.aborted).toBe(false);
    await Promise.all([held.release(), next.release()]);
    const paused = second.semaphores.acquire("provider", one);
    await waitFor(async () => (await status())?.waiting === 1, { what: "a line" });
    await expect(first.semaphores.acquire("provider", one)).rejects.toMatchObject({
      code: "SEMAPHORE_LINE_FULL",
    });
    await holdsFor(async () => (await status())?.held === 0, { what: "a pause", forMs: 500 });
    // A process that starts now declares the code's numbers: they do not count.
    const third = createDure({ service: "new", store: postgresStore({ pool: database.pool }) });
    const refused = third.semaphores.acquire("provider", { ...one, waitMs: 0 });
    await expect(refused).rejects.toMatchObject({ code: "PERMIT_TIMED_OUT" });
    await third.stop();
    await first.semaphores.reset("provider", { actor: "bob" });
    await (await paused).release();
    expect(await status()).toMatchObject({ permits: 1, lineMax: 5, isSet: false });
    expect(await audit()).toEqual([
      "semaphore.set semaphore/provider permits=2 lineMax=5 ada provider is slow",
      "semaphore.set semaphore/provider permits=0 lineMax=1 ada provider is slow",
      "semaphore.reset semaphore/provider permits=1 lineMax=5 bob",
    ]);
  });

  it("takes a permit from whoever has it: its signal aborts, and the first of the line has it", async () => {
    const held = await first.semaphores.acquire("provider", one);
    const waiting = second.semaphores.acquire("provider", one);
    await waitFor(async () => (await status())?.waiting === 1, { what: "a line" });
    const [place, inLine] = await first.semaphores.places("provider");
    expect(place).toMatchObject({ state: "HELD", position: null });
    expect(place?.process).toBe(`caller-1/${process.pid}`);
    expect(inLine).toMatchObject({ state: "WAITING", position: 1 });
    await second.semaphores.release(place?.id ?? "", by);
    const next = await waiting;
    await waitFor(() => held.signal.aborted, { what: "the signal" });
    expect(held.signal.reason).toMatchObject({ code: "PERMIT_LOST" });
    await held.release();
    expect((await status())?.held).toBe(1);
    const third = first.semaphores.acquire("provider", one).catch((error: unknown) => error);
    await waitFor(async () => (await status())?.waiting === 1, { what: "a line" });
    const waitingPlace = (await first.semaphores.places("provider"))[1];
    await first.semaphores.release(waitingPlace?.id ?? "", by);
    expect(await third).toMatchObject({ code: "PERMIT_LOST" });
    await next.release();
    const again = first.semaphores.release(waitingPlace?.id ?? "", by);
    await expect(again).rejects.toMatchObject({ code: "SEMAPHORE_NOT_FOUND" });
    expect(await audit()).toHaveLength(2);
  });

  it("does all of it from the command line, which says what is missing", async () => {
    await using _ = await first.semaphores.acquire("provider", one);
    const listed = await semaphores("list");
    expect(listed.out).toMatch(/NAME +HELD +PERMITS/);
    expect(listed.out).toMatch(/provider +1 +1 +0 +5/);
    const shown = await semaphores("places", "provider", "--json");
    const [place] = JSON.parse(shown.out) as readonly { readonly id: string }[];
    const actor = ["--actor", "ada", "--reason", "test"];
    expect(await semaphores("set", "provider", "--permits", "3", ...actor)).toMatchObject({
      exitCode: 0,
      out: "set\n",
    });
    expect((await semaphores("list")).out).toContain("set by an operator; the code says 1, 5");
    expect((await semaphores("release", place?.id ?? "", ...actor)).out).toBe("released\n");
    expect((await semaphores("reset", "provider", "--actor", "ada")).out).toBe("reset\n");
    const missing = await semaphores("set", "nothing", "--permits", "3", ...actor);
    expect(missing).toMatchObject({ exitCode: 1 });
    expect(missing.error).toContain("SEMAPHORE_NOT_FOUND");
    expect((await semaphores("set", "provider", "--permits", "3")).exitCode).toBe(2);
    expect(await audit()).toHaveLength(3);
  });
});
