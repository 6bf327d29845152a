/** Operators see who holds which lock, and release one: once, written down, and heard of by whoever waits. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../../src/cli/program.ts";
import { createDure } from "../../src/index.ts";
import type { Dure } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";

let database: TestDatabase;
let dure: Dure;

beforeAll(async () => {
  database = await createTestDatabase({ name: "lock_cli" });
  dure = createDure({ service: "box", store: postgresStore({ pool: database.pool }) });
});
afterAll(async () => {
  await dure?.stop();
  await database?.[Symbol.asyncDispose]();
});

async function run(...args: readonly string[]): Promise<{ code: number; out: string }> {
  const lines: string[] = [];
  const output = {
    out: (text: string) => void lines.push(text),
    error: (text: string) => void lines.push(text),
    isDebugging: false,
  };
  const code = await runCli(["locks", ...args, "--database-url", database.url], output);
  return { code, out: lines.join("\n") };
}

describe("dure locks", () => {
  it("lists who holds what, and releases it once", async () => {
    expect(await run("list")).toEqual({ code: 0, out: "no lock is held" });
    await using room = await dure.locks.acquire("room:1");
    await using _seat = await dure.locks.acquire("seat:1");
    const { out } = await run("list");
    expect(out).toMatch(/^KEY +HELD BY +TOKEN +SINCE +LEASE\nroom:1 +box@/);
    expect(out).toContain("seat:1");
    const listed = JSON.parse((await run("list", "--prefix", "room:", "--json")).out) as unknown;
    expect(listed).toMatchObject([{ key: "room:1", token: room.token, holder: room.holder }]);

    const waiting = dure.locks.acquire("room:1", { waitMs: 20_000 });
    const release = ["release", "room:1", "--actor", "ann", "--reason", "it hangs"];
    expect(await run(...release)).toEqual({ code: 0, out: "released room:1" });
    await using next = await waiting;
    expect(next.token).toBeGreaterThan(room.token);
    await next.release();
    expect(await run(...release)).toEqual({ code: 0, out: "nobody held room:1" });
    const { rows } = await database.pool.query(
      "select actor, reason from dure.audit_entry where subject = 'lock/room:1'",
    );
    expect(rows).toEqual([{ actor: "ann", reason: "it hangs" }]);
  });

  it("says what is missing", async () => {
    expect(await run("release", "room:1", "--actor", "ann")).toMatchObject({ code: 2 });
    expect(await run("list", "--limit", "0")).toMatchObject({ code: 2 });
  });
});
