/** What the tests of a whole service share: one event, a service around it, and a table of what was handled. */
import type pg from "pg";
import {
  createDure,
  type Dure,
  type DureOptions,
  event,
  type EventDefinition,
} from "../../src/index.ts";
import type { LogFacts, Logger, Message, StandardSchema, Transport } from "../../src/index.ts";
import {
  type EventLog,
  postgresStore,
  postgresTransport,
  type WalOptions,
} from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

/** What the test event carries: the how-manieth of its key it is. */
export interface Step {
  readonly key: string;
  readonly n: number;
}

export const stepSchema: StandardSchema<Step> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate(value) {
      const step = value as Partial<Step> | null;
      if (typeof step?.key === "string" && typeof step.n === "number") {
        return { value: { key: step.key, n: step.n } };
      }
      return { issues: [{ message: "must be a step", path: ["n"] }] };
    },
  },
};

export const stepTaken: EventDefinition<Step> = event("step.taken", {
  version: 1,
  schema: stepSchema,
  key: (data) => data.key,
});

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly facts: LogFacts | undefined;
}

/** A logger that remembers. */
export function collectLogs(): { readonly lines: LogLine[]; readonly logger: Logger } {
  const lines: LogLine[] = [];
  const at = (level: LogLine["level"]) => (message: string, facts?: LogFacts) => {
    lines.push({ level, message, facts });
  };
  const logger = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  return { lines, logger };
}

export interface TestService {
  readonly dure: Dure<pg.PoolClient>;
  readonly log: EventLog;
  readonly logs: LogLine[];
  /** Stops the service and its transport. May be called again. */
  stop(): Promise<boolean>;
  [Symbol.asyncDispose](): Promise<void>;
}

export type TestServiceOptions = Partial<Omit<DureOptions<pg.PoolClient>, "store" | "logger">> & {
  readonly pool: pg.Pool;
  /** The pool of the event log, where it is another. */
  readonly logPool?: pg.Pool;
  /** Where both listen, if not on their own. */
  readonly listenPool?: pg.Pool;
  readonly statementMsMax?: number;
  readonly idleInTransactionMsMax?: number;
  readonly schema?: string;
  readonly groupLeaseMs?: number;
  readonly wal?: WalOptions | undefined;
  readonly wrap?: (log: EventLog) => Transport;
};

/** A service on the database, not yet started. */
export function createTestService(options: TestServiceOptions): TestService {
  const { pool, logPool = pool, listenPool, schema = "dure", wrap, ...others } = options;
  const {
    statementMsMax = 30_000,
    idleInTransactionMsMax,
    wal,
    groupLeaseMs = 1_000,
    ...rest
  } = others;
  const { lines, logger } = collectLogs();
  const shared = { schema, logger, statementMsMax, ...(listenPool && { listenPool }) };
  const log = postgresTransport({ pool: logPool, leaseMs: groupLeaseMs, ...shared });
  const dure = createDure<pg.PoolClient>({
    service: "steps",
    store: postgresStore({
      pool,
      ...shared,
      ...(idleInTransactionMsMax !== undefined && { idleInTransactionMsMax }),
      ...(wal !== undefined && { wal }),
    }),
    transport: wrap === undefined ? log : wrap(log),
    logger,
    relay: { leaseMs: 1_000, pollMsMax: 100 },
    consumer: { pollMsMax: 100, retry: { attempts: 3, baseMs: 20, maxMs: 100 } },
    ...rest,
  });
  const stop = async (): Promise<boolean> => {
    const isDone = await dure.stop();
    await log.close();
    return isDone;
  };
  return { dure, log, logs: lines, stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}

/** A test database with the table `handled`. */
export async function createHandledDatabase(
  name: string,
  options?: { readonly poolSizeMax?: number },
): Promise<TestDatabase> {
  const database = await createTestDatabase({ name, poolSizeMax: 20, ...options });
  await createHandledTable(database.pool);
  return database;
}

export async function createHandledTable(pool: pg.Pool): Promise<void> {
  await pool.query(`create table handled (
    id bigint generated always as identity, consumer text, message_id text, key text, n int
  )`);
}

/** A handler that records what it handled in the message's transaction. */
export function handleInto(consumer: string) {
  return async (
    message: { readonly id: string; readonly data: Step },
    tx: { query(text: string, params: readonly unknown[]): Promise<unknown> },
  ): Promise<void> => {
    await tx.query("insert into handled (consumer, message_id, key, n) values ($1, $2, $3, $4)", [
      consumer,
      message.id,
      message.data.key,
      message.data.n,
    ]);
  };
}

export interface Handled extends Step {
  readonly messageId: string;
}

/** What was handled, in the order in which it was. */
export async function handled(pool: pg.Pool, consumer = "steps"): Promise<readonly Handled[]> {
  const { rows } = await pool.query<Handled>(
    `select key, n, message_id as "messageId" from handled where consumer = $1 order by id`,
    [consumer],
  );
  return rows;
}

/** Waits until so many were handled, and answers them. */
export async function waitForHandled(
  pool: pg.Pool,
  count: number,
  { consumer = "steps", timeoutMs = 15_000 }: { consumer?: string; timeoutMs?: number } = {},
): Promise<readonly Handled[]> {
  await waitFor(
    async () => {
      const { rows } = await pool.query<{ count: number }>(
        "select count(*)::int as count from handled where consumer = $1",
        [consumer],
      );
      return (rows[0]?.count ?? 0) >= count;
    },
    { what: `${count} handled messages of ${consumer}`, timeoutMs },
  ).catch(async (cause: unknown) => {
    throw new Error(`${(await handled(pool, consumer)).length} of ${count} were handled`, {
      cause,
    });
  });
  return handled(pool, consumer);
}

/** The numbers of each key in the order in which they were handled. */
export function numbersByKey(rows: readonly Step[]): Readonly<Record<string, readonly number[]>> {
  const byKey = Map.groupBy(rows, (row) => row.key);
  return Object.fromEntries([...byKey].map(([key, own]) => [key, own.map((row) => row.n)]));
}

/** Keys whose numbers did not come as 1, 2, 3 … without a gap or a double. */
export function disorderedKeys(rows: readonly Step[]): readonly string[] {
  return Object.entries(numbersByKey(rows))
    .filter(([, numbers]) => numbers.some((n, index) => n !== index + 1))
    .map(([key, numbers]) => `${key}: ${numbers.join(" ")}`);
}

/** Emits steps `from` to `to` of a key, one transaction each. */
export async function emitSteps(
  dure: Dure<pg.PoolClient>,
  key: string,
  { from = 1, to }: { readonly from?: number; readonly to: number },
): Promise<void> {
  for (let n = from; n <= to; n += 1) {
    await dure.transaction(async (tx) => tx.emit(stepTaken, { key, n }));
  }
}

/** Everything that the event log holds, in order of position. */
export async function logMessages(pool: pg.Pool): Promise<readonly Message[]> {
  const { rows } = await pool.query<{ envelope: string; data: string }>(
    "select envelope, data from dure.log_message order by position",
  );
  return rows.map((row) => ({
    ...(JSON.parse(row.envelope) as Omit<Message, "data">),
    data: row.data,
  }));
}

/** Waits until no event is left to publish. */
export async function waitForDrained(
  dure: Dure<pg.PoolClient>,
  options?: { readonly timeoutMs?: number },
): Promise<void> {
  await waitFor(async () => (await dure.status()).pending === 0, {
    what: "an empty outbox",
    ...options,
  });
}
