/** The tests' own instruments: a fault they do not make, or a leak they miss, would hide defects. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasField, spawnChild } from "../support/spawn-child.ts";
import { type TcpProxy, tcpProxy } from "../../../../tools/servers/tcp-proxy.ts";
import { createTestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor, within } from "../support/wait-for.ts";

describe("waiting", () => {
  it("returns the answer, and fails with what was missing and the last answer", async () => {
    let count = 0;
    expect(await waitFor(() => (count += 1) > 3 && count, { what: "4" })).toBe(4);
    const never = waitFor(() => 0, { what: "a miracle", timeoutMs: 50 });
    await expect(never).rejects.toThrow("waited 50 ms for a miracle; the last answer was 0");
    await expect(within(new Promise(() => {}), { what: "the end", timeoutMs: 50 })).rejects.toThrow(
      "waited 50 ms for the end",
    );
  });

  it("notices when what should hold does not", async () => {
    await holdsFor(() => true, { what: "truth", forMs: 50 });
    let count = 0;
    const broken = holdsFor(() => (count += 1) < 3, { what: "peace", forMs: 5_000 });
    await expect(broken).rejects.toThrow("peace");
  });
});

describe("a test database", () => {
  it("is gone afterwards, and was its own", async () => {
    const databases = await Promise.all(
      [1, 2, 3].map(() => createTestDatabase({ migrate: false })),
    );
    for (const { pool } of databases) await pool.query("create table t as select 1");
    const [first] = databases;
    for (const database of databases) await database[Symbol.asyncDispose]();
    const client = new pg.Client({ connectionString: first?.url });
    await expect(client.connect()).rejects.toMatchObject({ code: "3D000" });
  });

  it("has the library's schema when asked", async () => {
    await using database = await createTestDatabase();
    const { rows } = await database.pool.query(
      "select count(*)::int as count from pg_tables where schemaname = 'dure'",
    );
    expect(rows).toEqual([{ count: expect.toSatisfy((count: number) => count > 0) as number }]);
  });

  it("fails the test that leaves a session behind", async () => {
    const database = await createTestDatabase({ migrate: false });
    const leak = new pg.Client({ connectionString: database.url, application_name: "culprit" });
    leak.on("error", () => {}); // it is ended by the server
    await leak.connect();
    await expect(database[Symbol.asyncDispose]()).rejects.toThrow(/session: \d+ culprit idle/);
  });

  it("fails the test that does not release a client of the pool", async () => {
    const database = await createTestDatabase({ migrate: false });
    const client = await database.pool.connect();
    client.on("error", () => {}); // it is ended by the server
    await expect(database[Symbol.asyncDispose]()).rejects.toThrow("1 clients of the pool");
    client.release(true);
  });

  it("fails the test that leaves a replication slot, which would keep all log for ever", async () => {
    const database = await createTestDatabase({ migrate: false });
    await database.pool.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [
      database.name,
    ]);
    await expect(database[Symbol.asyncDispose]()).rejects.toThrow("replication slot");
  });
});

describe("a child", () => {
  const file = new URL("support-child.ts", import.meta.url);

  it("reports by lines and messages, listens, and ends with its code", async () => {
    await using child = spawnChild(file, { args: ["one"], env: { EXTRA: "more" } });
    expect(await child.waitForLine("plain")).toBe("a plain line");
    expect(await child.waitForMessage(hasField("event"))).toEqual({
      event: "ready",
      args: ["one"],
      extra: "more",
    });
    child.send("hello");
    expect(await child.waitForMessage(hasField("echo"))).toEqual({ echo: "hello" });
    child.send("end");
    expect(await child.waitForExit()).toEqual({ code: 3, signal: null });
    expect(child.stderr()).toBe("to stderr\n");
    await expect(child.waitForLine("never")).rejects.toThrow("the child ended before");
  });

  it("stands still while stopped, goes on when continued, and dies by SIGKILL", async () => {
    await using child = spawnChild(file);
    await child.waitForMessage(hasField("count"));
    child.kill("SIGSTOP");
    let last = -1;
    const isStill = () => last === (last = child.lines.length);
    await waitFor(isStill, { what: "silence", intervalMs: 100 });
    await holdsFor(() => child.lines.length === last, { what: "silence", forMs: 150 });
    child.kill("SIGCONT");
    await waitFor(() => child.lines.length > last, { what: "new lines" });
    child.kill("SIGKILL");
    expect(await child.waitForExit()).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("is killed when its time is over", async () => {
    await using child = spawnChild(file, { lifeMsMax: 300 });
    expect(await child.waitForExit()).toEqual({ code: null, signal: "SIGKILL" });
  });
});

describe("a TCP proxy", () => {
  let server: Server;
  const accepted: Socket[] = [];
  let heard = "";
  let target: string;

  beforeAll(async () => {
    server = createServer({ allowHalfOpen: true }, (socket) => {
      accepted.push(socket);
      socket.on("error", () => {});
      socket.on("data", (bytes: Buffer) => {
        heard += bytes.toString();
        socket.write(bytes);
      });
      socket.on("end", () => socket.end("bye"));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    target = `tcp://127.0.0.1:${(server.address() as { port: number }).port}/path`;
  });

  afterAll(() => {
    for (const socket of accepted) socket.destroy();
    server.close();
  });

  async function open(proxy: TcpProxy) {
    const socket = connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true });
    const seen = { text: "", error: undefined as unknown, hasEnded: false };
    socket.on("data", (bytes: Buffer) => (seen.text += bytes.toString()));
    socket.on("error", (error) => (seen.error = error));
    socket.on("end", () => (seen.hasEnded = true));
    await once(socket, "connect");
    return { socket, seen };
  }

  it("passes bytes and half-closes, and keeps the rest of the URL", async () => {
    await using proxy = await tcpProxy(target);
    expect(proxy.url).toBe(`tcp://127.0.0.1:${proxy.port}/path`);
    const { socket, seen } = await open(proxy);
    socket.end("hello ");
    await waitFor(() => seen.hasEnded, { what: "the other side's end" });
    expect(seen.text).toBe("hello bye");
    await waitFor(() => proxy.connectionCount() === 0, { what: "the connection's end" });
  });

  it("delays both ways and keeps the order, also when the delay shrinks", async () => {
    await using proxy = await tcpProxy(target);
    const { socket, seen } = await open(proxy);
    proxy.setLatency(100);
    const startedAt = performance.now();
    socket.write("a");
    await waitFor(() => proxy.connectionCount() === 1, { what: "the connection" });
    await holdsFor(() => seen.text === "", { what: "nothing yet", forMs: 80 });
    proxy.setLatency(0);
    socket.write("b");
    await waitFor(() => seen.text.length === 2, { what: "both letters" });
    expect(seen.text).toBe("ab");
    expect(performance.now() - startedAt).toBeGreaterThan(95);
    socket.destroy();
  });

  it("cuts what is open and takes new connections; refuses both until it resumes", async () => {
    await using proxy = await tcpProxy(target);
    const first = await open(proxy);
    await waitFor(() => proxy.connectionCount() === 1, { what: "the connection" });
    proxy.cut();
    await waitFor(() => first.seen.error, { what: "the reset" });
    expect(first.seen.error).toMatchObject({ code: "ECONNRESET" });
    proxy.refuse();
    const refused = connect({ host: proxy.host, port: proxy.port });
    const [error] = (await once(refused, "error").catch((reason: unknown) => [
      reason,
    ])) as unknown[];
    expect(error).toMatchObject({ code: "ECONNRESET" });
    proxy.resume();
    const second = await open(proxy);
    second.socket.write("x");
    await waitFor(() => second.seen.text === "x", { what: "the echo" });
    second.socket.destroy();
  });

  it("holds all bytes in a black hole, closing nothing, and delivers them late", async () => {
    await using proxy = await tcpProxy(target);
    const { socket, seen } = await open(proxy);
    socket.write("1");
    await waitFor(() => seen.text === "1", { what: "the first echo" });
    proxy.blackHole();
    socket.write("2");
    const later = await open(proxy);
    later.socket.write("3");
    const isSilent = () => seen.text === "1" && later.seen.text === "" && !seen.hasEnded;
    await holdsFor(isSilent, { what: "silence", forMs: 150 });
    proxy.resume();
    await waitFor(() => seen.text === "12" && later.seen.text === "3", { what: "late echoes" });
    socket.destroy();
    later.socket.destroy();
  });

  it("can lose one direction only, so that work is done and its answer lost", async () => {
    await using proxy = await tcpProxy(target);
    const { socket, seen } = await open(proxy);
    await waitFor(() => proxy.connectionCount() === 1, { what: "the connection" });
    proxy.blackHole("toClient");
    socket.write("work");
    await waitFor(() => heard.endsWith("work"), { what: "the work at the server" });
    await holdsFor(() => seen.text === "", { what: "no answer", forMs: 100 });
    proxy.cut();
    await waitFor(() => seen.error, { what: "the reset" });
    expect(seen.text).toBe("");
  });
});
