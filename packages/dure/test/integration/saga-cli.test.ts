/** From a shell an operator sees what a saga owes, ends it, and proves that live sagas survive a new definition. */
import { execFile } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkout, facts } from "../support/flows.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { order } from "./saga-cli-definitions.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const definitions = path("./saga-cli-definitions.ts");

let database: TestDatabase;
let service: TestService;
beforeAll(async () => {
  database = await createTestDatabase({ name: "saga_cli" });
  service = createTestService({
    pool: database.pool,
    sagas: { definitions: [order], flows: [checkout], flowWatchMs: 20 },
  });
  await service.dure.start();
  for (const id of ["S-1", "S-2", "S-3"]) {
    const run = await service.dure.sagas.start(order, { order: `of ${id}`, ship: false }, { id });
    await run.outcome();
  }
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly error: string;
}

function dure(...args: readonly string[]): Promise<Outcome> {
  const env = { ...process.env, NODE_OPTIONS: "", DATABASE_URL: database.url };
  const main = path("../../src/cli/main.ts");
  return new Promise((resolve) => {
    execFile(
      path("../../../../node_modules/.bin/node"),
      ["--conditions=dure-source", main, ...args],
      { env, timeout: 60_000, maxBuffer: 50_000_000 },
      (failure, out, error) => {
        resolve({ exitCode: failure === null ? 0 : Number(failure.code), out, error });
      },
    );
  });
}

const by = ["--actor", "ada", "--reason", "by hand"];

describe("dure sagas", () => {
  it("lists and shows parked sagas, and counts them among the dead letters", async () => {
    const list = await dure("sagas", "list", "--status", "FAILED");
    expect(list.error).toBe("");
    expect(list.out).toMatch(/^ID +DEFINITION +KEY +STATUS.*\nS-3 +cli-order v1 +of S-3 +FAILED/);
    const shown = await dure("sagas", "show", "S-1", "--module", definitions);
    expect(shown.error).toBe("");
    expect(shown.out).toMatch(/^status +FAILED$/m);
    expect(shown.out).toMatch(/^reason +PERMANENT: PermanentError: no carrier$/m);
    expect(shown.out).toMatch(/^promised +reserve, pay, ship$/m);
    expect(shown.out).toMatch(
      /^ship +given-up \(in doubt\) +1 +0 +PERMANENT: PermanentError: no carrier$/m,
    );
    const letters = await dure("dead-letters", "list", "--side", "saga", "--json");
    expect(JSON.parse(letters.out)).toMatchObject([
      { id: "saga/S-1", step: "ship" },
      { id: "saga/S-2" },
      { id: "saga/S-3" },
    ]);
    expect((await dure("status")).out).toMatch(/^parked sagas +3 /m);
  });

  it("resolves one by name and with a reason, which the service takes by itself", async () => {
    const refused = await dure("sagas", "resolve", "S-1", "--as", "COMPLETED", "--actor", "ada");
    expect(refused).toMatchObject({ exitCode: 2 });
    const asked = await dure("sagas", "resolve", "S-1", "--as", "COMPLETED", ...by, "--json");
    expect(JSON.parse(asked.out)).toEqual({ isNew: true });
    await waitFor(async () => (await service.dure.sagas.get("S-1")).status === "COMPLETED", {
      what: "the service to take it",
    });
    const again = await dure("sagas", "resolve", "S-1", "--as", "COMPLETED", ...by);
    expect(again.exitCode).toBe(1);
    expect(again.error).toMatch(/^error SAGA_COMMAND_REFUSED: .*ended as COMPLETED/);
    const unknown = await dure("sagas", "retry", "none", ...by);
    expect(unknown.error).toMatch(/^error SAGA_NOT_FOUND: /);
    const { rows } = await database.pool.query(
      "select actor, action, subject, reason from dure.audit_entry",
    );
    expect(rows).toEqual([
      { actor: "ada", action: "saga.resolve", subject: "saga/S-1/COMPLETED", reason: "by hand" },
    ]);
  });

  it("proves that the live sagas can go on, and names those that cannot", async () => {
    const fine = await dure("sagas", "check", definitions);
    expect(fine).toMatchObject({ exitCode: 0, error: "" });
    expect(fine.out).toMatch(/^all 2 live sagas can go on/);
    const changed = join(mkdtempSync(join(tmpdir(), "dure-saga-cli-")), "changed.ts");
    writeFileSync(
      changed,
      `import { saga } from "${path("../../src/index.ts")}";
      import { order as before } from "${definitions}";
      export const order = saga("cli-order", { version: 1, input: before.schema as any })
        .step("reserve", { run: async () => 1, compensate: async () => undefined })
        .pivot("charge", { run: async () => 1 })
        .end();`,
    );
    const broken = await dure("sagas", "check", changed);
    expect(broken.exitCode).toBe(1);
    expect(broken.out).toContain('STEP_MISSING: step "pay" has begun, and is not there (2)');
    expect(broken.out).toMatch(/^ {2}S-2, S-3$/m);
    expect(broken.error).toMatch(/2 live sagas cannot go on/);
    const json = await dure("sagas", "check", changed, "--json");
    expect(JSON.parse(json.out)).toMatchObject({ checked: 2, stuck: 2 });
  });

  it("checks a hundred thousand in small memory", { timeout: 120_000 }, async () => {
    await database.pool.query(`
      insert into dure.saga_instance (saga_id, definition, version, input)
      select 'M-' || n, 'cli-order', 1, '{"order": "x", "ship": true}' from generate_series(1, 100000) n;
      insert into dure.saga_journal (saga_id, n, process, batch, events)
      select 'M-' || n, 1, 0, 0, '[{"type": "begun", "step": "reserve", "attempt": 1}]' from generate_series(1, 100000) n;
      insert into dure.saga_live (saga_id, definition, version, wake_at)
      select 'M-' || n, 'cli-order', 1, clock_timestamp() + interval '1 h' from generate_series(1, 100000) n`);
    const { exitCode, out, error } = await dure("sagas", "check", definitions);
    expect({ exitCode, out }).toEqual({
      exitCode: 0,
      out: `all 100002 live sagas can go on under ${definitions}\n`,
    });
    expect(error).toContain("100000 checked");
    const page = await dure("sagas", "list", "--limit", "2", "--json");
    expect(JSON.parse(page.out)).toMatchObject({ sagas: [{}, {}] });
    const timers = await dure("sagas", "timers", "list", "--limit", "1");
    expect(timers.out).toMatch(/^ID +DEFINITION +KEY +STATUS +WAKES +DEADLINE\nM-1 /);
  });

  it("resolves a flow that nobody answers, once", async () => {
    await service.dure.transaction(async (tx) => {
      tx.emit(facts.created, { orderId: "o-1", sagaId: "FLOW-1" });
    });
    const isFollowed = () => service.dure.sagas.get("FLOW-1").then(Boolean, () => false);
    await waitFor(isFollowed, { what: "the flow" });
    const resolved = await dure("sagas", "resolve", "FLOW-1", "--as", "COMPENSATED", ...by);
    expect(resolved).toMatchObject({ exitCode: 0, error: "" });
    await service.dure.sagas.outcome("FLOW-1");
    const shown = await dure("sagas", "show", "FLOW-1");
    expect(shown.out).toMatch(/COMPENSATED[^]*heard[^]*resolve as COMPENSATED by ada: by hand/);
    expect(shown.out).not.toContain("undefined");
    const again = await dure("sagas", "resolve", "FLOW-1", "--as", "COMPLETED", ...by);
    expect(again.exitCode).not.toBe(0);
    expect(again.error).toContain("it has ended as COMPENSATED");
  });
});
