/** The explorer's pool does what the given one does, and comes by a point before and after each statement. */
import { describe, expect, it } from "vitest";
import type { CrashPoint, SeenPoint } from "./crash-point.ts";
import { explorerPool } from "./explorer-pool.ts";
import { createFaultSwitch } from "./fault-switch.ts";
import type { ExplorerPoolOptions } from "./scenario-module.ts";

type Callback = (error: Error | undefined, result?: unknown) => void;

/** As much of `pg` as the wrapper meets: promises, callbacks and query objects. */
class FakeClient {
  readonly ran: string[] = [];
  isCut = false;
  #listeners = 0;
  readonly connection: object = { stream: { destroy: () => (this.isCut = true) } };
  query(first: unknown, ...rest: unknown[]): unknown {
    if (first instanceof FakeSubmittable) {
      this.ran.push(first.text);
      if (first.text === "fails") first.handleError(new Error("no"));
      else first.handleReadyForQuery();
      return first;
    }
    const text = typeof first === "string" ? first : (first as { text: string }).text;
    this.ran.push(text);
    const error = text === "fails" ? new Error("no") : undefined;
    const callback = rest.at(-1) as Callback | undefined;
    if (typeof callback === "function") return callback(error, { rows: [text] });
    return error === undefined ? Promise.resolve({ rows: [text] }) : Promise.reject(error);
  }
  release(): void {}
  listen(): number {
    this.#listeners += 1;
    return this.#listeners;
  }
}

class FakeSubmittable {
  readonly text: string;
  answer: string | undefined;
  constructor(text: string) {
    this.text = text;
  }
  submit(): void {}
  handleReadyForQuery(): void {
    this.answer = "ready";
  }
  handleError(error: Error): void {
    this.answer = error.message;
  }
}

class FakePool {
  readonly client: FakeClient = new FakeClient();
  connect(callback?: (error: undefined, client: FakeClient) => void): Promise<FakeClient> {
    callback?.(undefined, this.client);
    return Promise.resolve(this.client);
  }
  query(text: string): Promise<unknown> {
    return Promise.resolve(this.client.query(text));
  }
}

function watched(fault?: Omit<CrashPoint, "isSteady">, options?: ExplorerPoolOptions) {
  const points: string[] = [];
  const pool = new FakePool();
  const faults = createFaultSwitch({
    fault: fault && { ...fault, isSteady: true },
    onPoint: ({ when, name, occurrence }: SeenPoint) =>
      points.push(`${when} ${name} ${occurrence}`),
    onHit: () => points.push("hit"),
    die: () => points.push("dead"),
  });
  // The fake has the part of the driver's types that is used.
  const wrapped = explorerPool(pool as never, faults, options) as unknown as FakePool;
  return { points, pool, wrapped };
}

const around = (name: string, occurrence = 1): readonly string[] =>
  ["before", "after", "answer-lost"].map((when) => `${when} ${name} ${occurrence}`);

describe("statements", () => {
  it("of the pool and of its clients are counted by name", async () => {
    const { points, wrapped } = watched();
    await wrapped.query("begin");
    const client = await wrapped.connect();
    expect(await client.query({ text: "begin" })).toEqual({ rows: ["begin"] });
    expect(points).toEqual([...around("begin"), ...around("begin", 2)]);
  });

  it("with a callback are counted when it is called", async () => {
    const { points, wrapped } = watched();
    const client = await wrapped.connect();
    const heard: unknown[] = [];
    client.query("select 1", [], (...args: unknown[]) => heard.push(args));
    client.query("fails", (...args: unknown[]) => heard.push(args));
    expect(heard).toEqual([
      [undefined, { rows: ["select 1"] }],
      [new Error("no"), undefined],
    ]);
    expect(points).toEqual([...around("select 1"), "before fails 1", "after fails 1"]);
  });

  it("that a query object sends are one, and the driver gets that very object", async () => {
    const { points, wrapped } = watched();
    const client = await wrapped.connect();
    const query = new FakeSubmittable("/* dure:outbox.append */ x; commit");
    expect(client.query(query)).toBe(query);
    expect(query.answer).toBe("ready");
    const failing = new FakeSubmittable("fails");
    client.query(failing);
    expect(failing.answer).toBe("no");
    expect(points).toEqual([
      ...around("dure:outbox.append + commit"),
      "before fails 1",
      "after fails 1",
    ]);
  });

  it("that fail do so as they would, and their answer cannot be lost", async () => {
    const { points, wrapped } = watched();
    const client = await wrapped.connect();
    await expect(client.query("fails")).rejects.toThrow("no");
    expect(points).toEqual(["before fails 1", "after fails 1"]);
  });
});

describe("a pool with a name", () => {
  it("puts it before each statement's, and counts only what it is to look at", async () => {
    const asked: string[] = [];
    const only = (statement: string): boolean => {
      asked.push(statement);
      return statement !== "begin";
    };
    const { points, wrapped, pool } = watched(undefined, { name: "payment", only });
    const client = await wrapped.connect();
    await client.query("begin");
    await client.query("/* payment:insert */ x");
    expect(points).toEqual(around("payment payment:insert"));
    expect(asked).toEqual(["begin", "payment:insert"]);
    expect(pool.client.ran).toEqual(["begin", "/* payment:insert */ x"]);
  });

  it("fails at the point of that name", async () => {
    const fault = { name: "payment commit", occurrence: 1, when: "answer-lost" } as const;
    const { wrapped } = watched(fault, { name: "payment" });
    const client = await wrapped.connect();
    await expect(client.query("commit")).rejects.toThrow("lost the answer of payment commit");
  });
});

describe("a fault", () => {
  it("before a statement comes before it is sent", async () => {
    const { points, wrapped, pool } = watched({ name: "commit", occurrence: 1, when: "before" });
    await wrapped.query("begin");
    expect(points).not.toContain("dead");
    const ran = wrapped.query("commit");
    expect(points.slice(-3)).toEqual(["before commit 1", "hit", "dead"]);
    await ran;
    expect(pool.client.ran).toEqual(["begin", "commit"]);
  });

  it.each([
    ["a promise", (client: FakeClient) => client.query("commit")],
    [
      "a callback",
      (client: FakeClient) =>
        new Promise((resolve, reject) => {
          client.query("commit", (error?: Error) => (error ? reject(error) : resolve(undefined)));
        }),
    ],
    [
      "a query object",
      (client: FakeClient) => {
        const { answer } = client.query(new FakeSubmittable("commit")) as FakeSubmittable;
        return Promise.reject(new Error(answer));
      },
    ],
  ])("that loses the answer of %s has its effect and cuts the connection", async (_, run) => {
    const { wrapped, pool } = watched({ name: "commit", occurrence: 1, when: "answer-lost" });
    const client = await wrapped.connect();
    await expect(run(client)).rejects.toThrow("lost the answer of commit");
    expect(pool.client.ran).toEqual(["commit"]);
    expect(pool.client.isCut).toBe(true);
  });
});

describe("everything else", () => {
  it("is the driver's own: private fields, both ways to connect, one wrapper for each client", async () => {
    const { wrapped, pool } = watched();
    const client = await wrapped.connect();
    expect(client.listen()).toBe(1);
    expect(client).toBeInstanceOf(FakeClient);
    expect(await wrapped.connect()).toBe(client);
    expect(wrapped.connect.length).toBe(pool.connect.length);
    const { promise, resolve } = Promise.withResolvers<FakeClient>();
    void wrapped.connect((_, found) => resolve(found));
    expect(await promise).toBe(client);
  });
});
