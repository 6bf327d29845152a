/** The database goes away under running sagas and comes back: all of them end, and nothing is there twice (laws S2, X2). */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect, it } from "vitest";
import { startEmbeddedPostgres } from "../../src/embedded/index.ts";
import { migrate } from "../../src/postgres/index.ts";
import { createTestService } from "../integration/service-fixture.ts";
import { waitFor, within } from "../support/wait-for.ts";
import {
  completedWork,
  countSagas,
  countWork,
  createEffectTable,
  defineWork,
  undoneWork,
} from "./saga-work.ts";

const sagaCount = 200;
const undoneCount = sagaCount / 5;

function openPool(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 15, connectionTimeoutMillis: 2_000 });
  pool.on("error", () => {}); // the server ends all sessions
  return pool;
}

it.for(["stopped", "killed"] as const)(
  "a database that is %s and started again under running sagas: whoever waits hears how each ended",
  { timeout: 90_000 },
  async (how) => {
    const folder = await mkdtemp(join(tmpdir(), "dure-saga-restart-"));
    await using resources = new AsyncDisposableStack();
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const options = { dataDir: join(folder, "postgres"), settings: { fsync: "off" } };
    let server = await startEmbeddedPostgres(options);
    resources.defer(() => server.stop());
    const pool = openPool(server.url);
    resources.defer(() => pool.end());
    const participant = openPool(server.url);
    resources.defer(() => participant.end());
    await migrate({ pool });
    await createEffectTable(pool);
    const definition = defineWork({ participant });
    const service = createTestService({
      pool,
      relay: false,
      sagas: { definitions: [definition], leaseMs: 1_000, pollMs: 50 },
    });
    resources.use(service);
    await service.dure.start();
    const runs = await Promise.all(
      Array.from({ length: sagaCount }, (_, index) => {
        const id = `S-${index}`;
        return service.dure.sagas.start(definition, { id, isRefused: index % 5 === 0 }, { id });
      }),
    );
    const outcomes = Promise.all(runs.map((run) => run.outcome()));
    await waitFor(async () => Object.keys(await countWork(pool)).length > 1, {
      what: "sagas at different steps",
      intervalMs: 5,
    });
    const { port } = server;
    if (how === "killed") process.kill(server.pid, "SIGQUIT");
    await server.stop();
    server = await startEmbeddedPostgres({ ...options, port });
    const underWay = (await countSagas(pool))["RUNNING"] ?? 0;
    const kinds = (await within(outcomes, { what: "all outcomes", timeoutMs: 60_000 })).map(
      ({ kind }) => kind,
    );
    expect(underWay, "sagas under way when the server was back").toBeGreaterThan(0);
    expect(kinds.filter((kind) => kind === "completed")).toHaveLength(sagaCount - undoneCount);
    expect(kinds.filter((kind) => kind === "compensated")).toHaveLength(undoneCount);
    expect(await countSagas(pool)).toEqual({
      COMPLETED: sagaCount - undoneCount,
      COMPENSATED: undoneCount,
    });
    expect(await countWork(pool)).toEqual({
      [completedWork]: sagaCount - undoneCount,
      [undoneWork]: undoneCount,
    });
    const troubles = service.logs.filter(({ level }) => level === "warn" || level === "error");
    expect(troubles.length).toBeLessThan(20);
  },
);
