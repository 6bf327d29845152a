import { randomUUID } from "node:crypto";
import { Agent, request as httpRequest } from "node:http";
import { idempotent } from "dure/http/fastify";
import Fastify from "fastify";
import type { Pool } from "pg";
import { createBusinessTables, ownTransaction } from "../business.ts";
import type { BenchCase } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { ratioFigure } from "../figure.ts";
import { slice, takeTurns } from "../load.ts";
import type { Contender } from "../load.ts";
import { Series } from "../measure.ts";
import { text, writingService } from "../service.ts";

const connections = 50;
const bare = "POST, bare";
const fresh = "POST, a new key each";
const replay = "POST, the same keys again";

/** P9: what a key costs a POST that writes a row, and what a repeat costs, over 50 connections. */
export const measureKeyedRequests: BenchCase = async ({ options, server, progress }) => {
  await using database = await openDatabase(server, "keyed");
  const { pool } = database;
  await createBusinessTables(pool);
  await using shop = await openShop(pool);
  // Each connection repeats a request of its own.
  const keys = Array.from({ length: connections }, () => randomUUID());
  const contenders: readonly Contender[] = [
    contender(bare, () => shop.post("/bare")),
    contender(fresh, () => shop.post("/keyed", randomUUID())),
    contender(replay, (writer) => shop.post("/keyed", keys[writer])),
  ];
  const series = new Series();
  progress("P9 warm-up");
  await takeTurns(contenders, { seconds: 1, slices: 1 });
  for (let round = 1; round <= options.rounds; round += 1) {
    await pool.query("truncate business");
    await settle(pool);
    const rates = await takeTurns(contenders, options);
    for (const [name, rate] of rates) series.add(name, rate);
    const [one, two, three] = [bare, fresh, replay].map((name) => Math.round(rates.get(name) ?? 0));
    progress(
      `P9 round ${round}/${options.rounds}: bare ${one}/s, new keys ${two}/s, replays ${three}/s`,
    );
  }
  return [
    ratioFigure(series, "P9", { work: fresh, base: bare, atLeast: 0.75 }),
    ratioFigure(series, "P9", { work: replay, base: bare, atLeast: 1 }),
  ];
};

function contender(name: string, work: (writer: number) => Promise<unknown>): Contender {
  return { name, run: (ms) => slice(work, { ms, writers: connections }) };
}

interface Shop extends AsyncDisposable {
  /** Throws when it is answered with anything but 201. */
  post(path: string, key?: string): Promise<void>;
}

async function openShop(pool: Pool): Promise<Shop> {
  const app = Fastify();
  const write = ownTransaction(pool);
  const answer = { id: "ORD-1", status: "PENDING", text };
  app.post("/bare", async (_request, reply) => {
    await write();
    return reply.code(201).header("location", "/orders/1").send(answer);
  });
  const dure = writingService(pool);
  app.post(
    "/keyed",
    idempotent(dure, { principal: () => "bench" }, async ({ tx }) => {
      await tx.query("insert into business (data) values ($1)", [text]);
      return { status: 201, headers: { location: "/orders/1" }, body: answer };
    }),
  );
  const base = await app.listen({ host: "127.0.0.1", port: 0 });
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const body = JSON.stringify({ items: [{ productId: "p1", quantity: 1 }], text });
  return {
    post: (path, key) =>
      new Promise((resolve, reject) => {
        const headers = {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          ...(key !== undefined && { "idempotency-key": key }),
        };
        const sent = httpRequest(`${base}${path}`, { method: "POST", agent, headers });
        sent.on("error", reject);
        sent.on("response", (response) => {
          response.resume();
          response.on("end", () => {
            if (response.statusCode === 201) resolve();
            else reject(new Error(`POST ${path} was answered with ${response.statusCode}`));
          });
        });
        sent.end(body);
      }),
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await app.close();
      await dure.stop();
    },
  };
}
