/** Writers that do everything that makes positions commit out of order: law O2 b, for Dure and for the naive designs. */
import pg from "pg";
import { classifySqlError } from "../../src/postgres/sqlstate.ts";
import type { OutboxDesign } from "../naive/outbox-design.ts";
import type { Step } from "./service-fixture.ts";

const writerCount = 10;
const keyCount = 60;
const eventsPerEmitMax = 4;

/** What the writers need to know. */
export interface HostileWritersOptions {
  readonly url: string;
  readonly design: Pick<OutboxDesign, "table" | "write">;
  readonly seed: number;
  /** Another way to write, in a transaction that the library runs: some of them take it. */
  readonly transaction?: LibraryTransaction;
  /** The longest pause between the drawing of a position and its row. @defaultValue 10 */
  readonly pauseMsMax?: number;
}

/** Runs the work and commits; resolves to whether it is known to have committed. */
export type LibraryTransaction = (
  work: (tx: {
    query(text: string, params: readonly unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
    emit(step: Step): void;
  }) => Promise<void>,
) => Promise<boolean>;

/** Writers, each with a session of its own, which may be killed. */
export interface HostileWriters {
  /** Resolves when about so many events more have been committed, and no prepared transaction is left. */
  write(eventCount: number): Promise<void>;
  /** What they have done so far; `committed` is not exact when sessions are killed in a COMMIT. */
  readonly ledger: Readonly<Ledger>;
}

interface Ledger {
  committed: number;
  rolledBack: number;
  prepared: number;
  sessionsLost: number;
}

/**
 * The table `counter` afterwards holds, by key, how many events were committed: they carry the numbers 1 to n in
 * the order of commits, since each writer counts under a lock of the key that it keeps until it has committed.
 */
export async function createHostileWriters(
  pool: pg.Pool,
  options: HostileWritersOptions,
): Promise<HostileWriters> {
  await pool.query(`
    create table counter (key text primary key, n int not null) with (fillfactor = 20);
    insert into counter select 'key-' || i, 0 from generate_series(0, ${keyCount - 1}) i;
    -- Two statements, two snapshots: the count is read under the lock. No transaction id is taken yet.
    create function take_key(p_key text) returns int language plpgsql as $$
    begin
      perform pg_advisory_xact_lock(hashtextextended('counter ' || p_key, 0));
      return (select n from counter where key = p_key);
    end $$;
    create function stand_still() returns trigger language plpgsql as $$
    begin perform pg_sleep(random() * ${(options.pauseMsMax ?? 10) / 1_000}); return new; end $$;
    -- The position is drawn, the row is not there yet.
    create trigger stand_still before insert on ${options.design.table}
      for each row when (random() < 0.03) execute function stand_still();`);
  const ledger: Ledger = { committed: 0, rolledBack: 0, prepared: 0, sessionsLost: 0 };
  const randoms = Array.from({ length: writerCount }, (_, own) =>
    randomFrom(options.seed * 1_000 + own),
  );
  let turn = 0;
  return {
    ledger,
    async write(eventCount) {
      const goal = ledger.committed + eventCount;
      const over = new AbortController();
      const writers = randoms.map(async (random, own) => {
        let session: pg.Client | undefined;
        while (ledger.committed < goal) {
          turn += 1;
          if (options.transaction !== undefined && random() < 0.3) {
            const committed = await oneLibraryTransaction(options.transaction, random);
            ledger.committed += committed;
            continue;
          }
          session ??= await connect(options.url);
          if (session === undefined) continue;
          const isAlive = await oneTransaction(
            { client: session, random, ledger, name: `${own}-${turn}` },
            options.design,
          );
          if (isAlive) continue;
          ledger.sessionsLost += 1;
          session = undefined;
        }
        await session?.end();
      });
      const finishing = finishOrphans(pool, over.signal);
      await Promise.all(writers).finally(() => over.abort());
      await finishing;
    },
  };
}

/** Undefined when the session was killed before it was there. */
async function connect(url: string): Promise<pg.Client | undefined> {
  const client = new pg.Client({ connectionString: url, application_name: "stress writer" });
  client.on("error", () => {}); // the next statement fails and says it
  try {
    await client.connect();
    return client;
  } catch (error) {
    if (classifySqlError(error) !== "unavailable") throw error;
    return undefined;
  }
}

interface Writer {
  readonly client: pg.Client;
  readonly random: () => number;
  readonly ledger: Ledger;
  readonly name: string;
}

/** Resolves to whether its session is still there. */
async function oneTransaction(
  writer: Writer,
  design: HostileWritersOptions["design"],
): Promise<boolean> {
  const { client, ledger } = writer;
  try {
    await client.query("begin");
    await finish(writer, await emitForSomeKeys(writer, design));
    return true;
  } catch (error) {
    const isAlive = await client.query("rollback").then(
      () => true,
      () => false,
    );
    // A session that lives has no excuse: keys are taken in one order, so nobody deadlocks.
    if (isAlive) throw error;
    ledger.rolledBack += 1;
    return false;
  }
}

/** Resolves to how many events it has committed, as far as is known. */
async function oneLibraryTransaction(
  transaction: LibraryTransaction,
  random: () => number,
): Promise<number> {
  const key = `key-${Math.floor(random() * keyCount)}`;
  const count = 1 + Math.floor(random() * eventsPerEmitMax);
  const isCommitted = await transaction(async (tx) => {
    const { rows } = await tx.query("select take_key($1) as n", [key]);
    const before = (rows[0] as { readonly n: number }).n;
    await tx.query("update counter set n = n + $2 where key = $1", [key, count]);
    for (let index = 1; index <= count; index += 1) tx.emit({ key, n: before + index });
  });
  return isCommitted ? count : 0;
}

async function emitForSomeKeys(
  { client, random }: Writer,
  design: HostileWritersOptions["design"],
): Promise<number> {
  const upTo = (max: number): number => 1 + Math.floor(random() * max);
  const keys = Array.from({ length: upTo(3) }, () => `key-${upTo(keyCount) - 1}`);
  if (random() < 0.3) await client.query("select pg_current_xact_id()");
  let emitted = 0;
  for (const key of [...new Set(keys)].toSorted((x, y) => (x < y ? -1 : 1))) {
    const isUndone = random() < 0.15;
    if (isUndone) await client.query("savepoint s");
    const count = upTo(eventsPerEmitMax);
    const { rows } = await client.query<{ n: number }>("select take_key($1) as n", [key]);
    const before = rows[0]?.n ?? Number.NaN;
    const steps: readonly Step[] = Array.from({ length: count }, (_, index) => ({
      key,
      n: before + index + 1,
    }));
    // Writers use the part of a client that all clients share.
    await design.write(client as unknown as pg.PoolClient, steps);
    await client.query("update counter set n = n + $2 where key = $1", [key, count]);
    // Others draw positions and commit them meanwhile.
    if (random() < 0.05) await client.query("select pg_sleep($1)", [random() * 0.01]);
    if (isUndone) await client.query("rollback to s");
    else emitted += count;
  }
  return emitted;
}

async function finish({ client, random, ledger, name }: Writer, emitted: number): Promise<void> {
  const ending = random();
  if (ending < 0.12) {
    await client.query("rollback");
    ledger.rolledBack += 1;
  } else if (ending < 0.17) {
    await client.query(`prepare transaction '${name}'`);
    ledger.prepared += 1;
    await client.query("select pg_sleep($1)", [random() * 0.02]);
    const isUndone = random() < 0.2;
    await endPrepared(client, name, isUndone);
    if (isUndone) ledger.rolledBack += 1;
    else ledger.committed += emitted;
  } else {
    await client.query("commit");
    ledger.committed += emitted;
  }
}

/** 42704: the other side, who thinks it an orphan, was first. 55000: it is at it just now. */
const endedByOther: ReadonlySet<string | undefined> = new Set(["42704", "55000"]);

async function endPrepared(
  session: pg.Client | pg.Pool,
  name: string,
  isUndone: boolean,
): Promise<void> {
  const statement = `${isUndone ? "rollback" : "commit"} prepared '${name}'`;
  await session.query(statement).catch((error: unknown) => {
    if (!endedByOther.has((error as { code?: string }).code)) throw error;
  });
}

const orphans = `select gid from pg_prepared_xacts
  where database = current_database() and prepared < clock_timestamp() - interval '1 second'`;

/** Ends the prepared transactions of sessions that were killed before they could; when told to stop, all of them. */
async function finishOrphans(pool: pg.Pool, signal: AbortSignal): Promise<void> {
  for (;;) {
    const isLast = signal.aborted;
    const { rows } = await pool.query<{ gid: string }>(orphans);
    for (const { gid } of rows) {
      await endPrepared(pool, gid, Number(gid.at(-1)) % 2 === 0);
    }
    const { rowCount } = await pool.query(
      "select from pg_prepared_xacts where database = current_database()",
    );
    if (isLast && rowCount === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Mulberry32 (public domain, Tommy Ettinger): small, seeded, good enough to choose by. */
export function randomFrom(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
