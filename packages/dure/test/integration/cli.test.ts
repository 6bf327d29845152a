/** The command line does what it says, on dead letters of a real service, and says clearly what is wrong. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDure, event, PermanentError } from "../../src/index.ts";
import type { Dure, StandardSchema, Transport } from "../../src/index.ts";
import { postgresStore, postgresTransport } from "../../src/postgres/index.ts";
import { createTestDatabase } from "../support/test-database.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly error: string;
}

const node: string = fileURLToPath(new URL("../../../../node_modules/.bin/node", import.meta.url));
const main: string = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ name: "cli" });
});

afterAll(async () => {
  await database?.[Symbol.asyncDispose]();
});

/** Runs `dure …` as a shell does. */
function dure(
  args: readonly string[],
  options?: {
    readonly env?: Readonly<Record<string, string | undefined>>;
    readonly node?: readonly string[];
  },
): Promise<Outcome> {
  const flags = ["--conditions=dure-source", ...(options?.node ?? [])];
  const env = {
    ...process.env,
    NODE_OPTIONS: "",
    DATABASE_URL: database.url,
    DURE_DEBUG: "",
    ...options?.env,
  };
  return new Promise((resolve) => {
    execFile(node, [...flags, main, ...args], { env, timeout: 30_000 }, (failure, out, error) => {
      const exitCode = failure === null ? 0 : Number(failure.code);
      resolve({ exitCode, out, error });
    });
  });
}

const json = async (args: readonly string[]): Promise<unknown> => {
  const { out, exitCode, error } = await dure([...args, "--json"]);
  expect({ exitCode, error }).toEqual({ exitCode: 0, error: "" });
  return JSON.parse(out);
};

describe("migrate", () => {
  it("brings a new schema up to date, and a second time finds it so", async () => {
    const first = await dure(["migrate", "--schema", "other"]);
    expect(first).toMatchObject({ exitCode: 0, error: "" });
    expect(first.out).toMatch(
      /^applied 0001_\w+\.sql\n(?:applied \S+\n)+schema "other" is up to date: \d+ migrations applied\n$/,
    );
    const second = await dure(["migrate", "--schema", "other"]);
    expect(second).toEqual({ exitCode: 0, error: "", out: 'schema "other" was up to date\n' });
  });

  it("prints a script that makes the same schema, without any connection", async () => {
    const env = { DATABASE_URL: undefined };
    const { out, exitCode } = await dure(["migrate", "--print", "--schema", "printed"], { env });
    expect(exitCode).toBe(0);
    await database.pool.query(out);
    expect(await dure(["migrate", "--schema", "printed"])).toMatchObject({
      out: 'schema "printed" was up to date\n',
    });
    expect(await dure(["status", "--schema", "printed"])).toMatchObject({ exitCode: 0, error: "" });
  });

  it("refuses a schema's name that is none", async () => {
    const { exitCode, error } = await dure(["migrate", "--schema", 'x"; drop table y; --']);
    expect(exitCode).toBe(2);
    expect(error).toMatch(/^error CONFIGURATION_INVALID: schema: .*\n$/);
  });
});

describe("dead letters of a real service", () => {
  interface Ticket {
    readonly id: string;
    readonly card: string;
  }
  const schema: StandardSchema<Ticket> = {
    "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as Ticket }) },
  };
  const TicketSold = event("ticket.sold", { version: 1, schema, key: (ticket) => ticket.id });
  const handled: string[] = [];
  let isMended = false;
  let service: Dure<unknown>;
  let transport: Transport;

  beforeAll(async () => {
    transport = postgresTransport({ pool: database.pool });
    service = createDure<unknown>({
      service: "tickets",
      store: postgresStore({ pool: database.pool }),
      transport,
      consumer: { retry: { attempts: 1 } },
    });
    service.on(TicketSold, {}, (message) => {
      if (!isMended) throw new PermanentError("printer\u001b[2J is\nout of paper");
      handled.push(message.data.id);
    });
    await service.start();
    for (const id of ["a", "b", "줄바꿈"]) {
      await service.transaction((tx) =>
        Promise.resolve(tx.emit(TicketSold, { id, card: "4111-1111" })),
      );
    }
    await waitFor(async () => (await service.status()).deadLetters === 3, {
      what: "three dead letters",
    });
    await service.transaction((tx) =>
      Promise.resolve(tx.emit(TicketSold, { id: "a", card: "behind" })),
    );
    await waitFor(async () => (await service.status()).waiting === 1, { what: "one held message" });
  });

  afterAll(async () => {
    await service?.stop();
    await transport?.close();
  });

  it("status shows them to people and to programs", async () => {
    const { out, exitCode } = await dure(["status"]);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^dead letters {2,}3 {2}/m);
    expect(out).toMatch(/^waiting {2,}1 {2}/m);
    expect(await json(["status"])).toMatchObject({
      deadLetters: 3,
      waiting: 1,
      parkedKeys: 3,
      relays: 1,
    });
  });

  it("list shows them in columns, safe for a terminal, and never a payload", async () => {
    const { out, exitCode } = await dure(["dead-letters", "list"]);
    const lines = out.trimEnd().split("\n");
    expect(exitCode).toBe(0);
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^ *ID {2}SIDE {6}CONSUMER {2}TYPE {9}KEY/);
    expect(lines.find((line) => line.includes("ticket.sold  a "))).toMatch(
      / 1 {2,}1 {2}\S+Z {2}PERMANENT: .*printer\\u\{1b\}\[2J is\\u\{a\}out of/,
    );
    expect(out).toContain("줄바꿈");
    expect(out).not.toContain("4111");
    expect(out).not.toContain("\u001b");
  });

  it("list narrows by each filter and says when there may be more", async () => {
    const list = (...args: string[]): Promise<unknown> => json(["dead-letters", "list", ...args]);
    expect(await list("--key", "b")).toMatchObject([
      { key: "b", type: "ticket.sold", consumer: "tickets" },
    ]);
    expect(
      await list("--side", "consumer", "--topic", "ticket", "--type", "ticket.sold"),
    ).toHaveLength(3);
    for (const filter of [
      ["--side", "relay"],
      ["--consumer", "x"],
      ["--topic", "x"],
      ["--type", "x"],
    ]) {
      expect(await list(...filter), filter.join(" ")).toEqual([]);
    }
    const first = await dure(["dead-letters", "list", "--limit", "1"]);
    expect(first.error).toBe("1 shown, there may be more: give --limit\n");
    expect(await dure(["dead-letters", "list", "--key", "x"])).toMatchObject({
      out: "no dead letters\n",
    });
  });

  it("discard gives one up, and the audit log says who and why", async () => {
    const [letter] = (await json(["dead-letters", "list", "--key", "b"])) as { id: string }[];
    const id = letter?.id ?? "";
    const by = ["--actor", "ada", "--reason", "refunded by hand"];
    expect(await dure(["dead-letters", "discard", id, ...by])).toEqual({
      exitCode: 0,
      out: "discarded: 1\n",
      error: "",
    });
    const again = await dure(["dead-letters", "discard", id, ...by]);
    expect(again).toMatchObject({ exitCode: 1, out: "discarded: 0\n" });
    expect(again.error).toMatch(
      new RegExp(`^error DEAD_LETTER_NOT_FOUND: there is no dead letter ${id}: .*\n$`),
    );
    const { rows } = await database.pool.query(
      "select actor, action, reason from dure.audit_entry",
    );
    expect(rows).toEqual([
      { actor: "ada", action: "dead-letter.discard", reason: "refunded by hand" },
    ]);
  });

  it("redrive by id does what it can and names what it cannot; by filter it does the rest, in order", async () => {
    isMended = true;
    const [letter] = (await json(["dead-letters", "list", "--key", "a"])) as { id: string }[];
    const one = await dure([
      "dead-letters",
      "redrive",
      letter?.id ?? "",
      "987654",
      "--actor",
      "ada",
    ]);
    expect(one).toMatchObject({ exitCode: 1, out: "redriven: 1\n" });
    expect(one.error).toContain("987654");
    await waitFor(() => handled.length === 2, { what: "both of key a" });
    const rest = await dure([
      "dead-letters",
      "redrive",
      "--all-matching",
      "--topic",
      "ticket",
      "--actor",
      "ada",
      "--reason",
      "new paper",
    ]);
    expect(rest).toEqual({ exitCode: 0, out: "redriven: 1\n", error: "" });
    await waitFor(() => handled.length === 3, { what: "the rest" });
    expect(handled).toEqual(["a", "a", "줄바꿈"]);
    expect(await json(["status"])).toMatchObject({ deadLetters: 0, waiting: 0, parkedKeys: 0 });
  });
});

describe("what is wrong is said in one line, without a stack and without the password", () => {
  const line = /^error [^\n]+\n$/;

  it.each([
    {
      what: "no database named",
      env: { DATABASE_URL: undefined },
      says: /--database-url .* DATABASE_URL/,
      code: 2,
    },
    {
      what: "no URL",
      args: ["--database-url", "sekret@host"],
      says: /must look like postgres:/,
      code: 2,
    },
    {
      what: "another scheme",
      args: ["--database-url", "mysql://u:sekret@h/d"],
      says: /must look like postgres:/,
      code: 2,
    },
    {
      what: "nobody listens",
      args: ["--database-url", "postgres://u:sekret@127.0.0.1:1/d"],
      says: /DATABASE_UNAVAILABLE: 127\.0\.0\.1:1\/d .*ECONNREFUSED.*is the server running/,
      code: 1,
    },
    {
      what: "no such host",
      args: ["--database-url", "postgres://u:sekret@nowhere.invalid/d"],
      says: /DATABASE_UNAVAILABLE: nowhere\.invalid:5432\/d/,
      code: 1,
    },
    {
      what: "schema missing",
      args: ["--schema", "missing"],
      says: /SCHEMA_MISSING: schema "missing" lacks .*run "dure migrate --schema missing"/,
      code: 1,
    },
  ])("$what", async ({ args = [], env, says, code }) => {
    const { exitCode, out, error } = await dure(["status", ...args], { ...(env && { env }) });
    expect({ exitCode, out }).toEqual({ exitCode: code, out: "" });
    expect(error).toMatch(line);
    expect(error).toMatch(says);
    expect(error).not.toContain("sekret");
  });

  it("a wrong password, a missing database, and DURE_DEBUG, which shows the stack", async () => {
    const wrong = new URL(database.url);
    wrong.password = "s%40kret";
    const refused = await dure(["status", "--database-url", wrong.href], {
      env: { DURE_DEBUG: "1" },
    });
    expect(refused.error).toMatch(
      /^error SQLSTATE 28P01 from [^\n]+check user and password\n[^]*\n +at /,
    );
    expect(refused.error).not.toMatch(/s@kret|s%40kret/);
    const elsewhere = new URL(database.url);
    elsewhere.pathname = "/nothing_here";
    const { error, exitCode } = await dure(["status", "--database-url", elsewhere.href]);
    expect(exitCode).toBe(1);
    expect(error).toMatch(/SQLSTATE 3D000 .*create the database/);
    expect(error).not.toContain(wrong.password);
  });

  it("pg is not installed", async () => {
    const hide = `import { registerHooks } from "node:module"; registerHooks({ resolve(name, context, next) { if (name === "pg") throw new Error("not found"); return next(name, context); } });`;
    const { error, exitCode } = await dure(["status"], {
      node: ["--import", `data:text/javascript,${encodeURIComponent(hide)}`],
    });
    expect({ error, exitCode }).toEqual({
      exitCode: 1,
      error: "error the command line needs the npm package pg: run npm install pg\n",
    });
  });

  it.each([
    [[]],
    [["frobnicate"]],
    [["status", "--frobnicate"]],
    [["dead-letters", "list", "--side", "x"]],
    [["dead-letters", "list", "--limit", "0"]],
    [["dead-letters", "redrive", "1"]],
    [["dead-letters", "redrive", "--actor", "ada"]],
    [["dead-letters", "redrive", "1", "--all-matching", "--actor", "ada"]],
    [["dead-letters", "redrive", "1", "--key", "k", "--actor", "ada"]],
    [["dead-letters", "redrive", "one", "--actor", "ada"]],
    [["dead-letters", "redrive", "1", "--actor", " "]],
    [["dead-letters", "discard", "1", "--actor", "ada"]],
    [["dead-letters", "discard", "--actor", "ada", "--reason", "r"]],
  ])("used wrongly: dure %j", async (args) => {
    const { exitCode, error } = await dure(args);
    expect(exitCode).toBe(2);
    expect(error).not.toMatch(/\n +at /);
    expect(error).not.toBe("");
  });

  it("help is no mistake, and shows no value of DATABASE_URL", async () => {
    const { exitCode, out } = await dure(["dead-letters", "redrive", "--help"]);
    expect(exitCode).toBe(0);
    expect(out).toContain("--all-matching");
    expect(out).not.toContain(new URL(database.url).password);
  });
});
