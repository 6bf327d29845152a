/** The interleavings of law O2, said once for Dure and for the naive designs. Forced by locks and by what the server shows of its sessions, never by time. */
import type pg from "pg";
import { createTestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import type { OutboxDesign } from "../naive/outbox-design.ts";
import {
  logMessages,
  type Step,
  stepTaken,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

/** Dure as the scenarios see it; the service relays. */
export function dureOutbox(service: TestService, pool: pg.Pool): OutboxDesign {
  return {
    table: "dure.outbox_message",
    async write(client, events) {
      await service.dure.outbox.emit(
        client,
        events.map((step) => stepTaken.of(step)),
      );
    },
    settle: () => waitForDrained(service.dure),
    sent: () => sentSteps(pool),
  };
}

/** The steps that the event log holds, in order. */
export async function sentSteps(pool: pg.Pool): Promise<readonly Step[]> {
  return (await logMessages(pool)).map(({ data }) => JSON.parse(data) as Step);
}

/** The numbers of a key in the order of sending. */
export async function sentOf(design: Pick<OutboxDesign, "sent">, key: string) {
  return (await design.sent()).filter((step) => step.key === key).map(({ n }) => n);
}

/**
 * The same when so many of them are there. Some designs wait for every transaction of the server, and so for those
 * of the test files beside this one.
 */
async function sentInTheEnd(design: OutboxDesign, key: string, count: number) {
  const isThere = async () => {
    await design.settle();
    return (await sentOf(design, key)).length >= count;
  };
  await waitFor(isThere, { what: `${count} events of ${key}`, timeoutMs: 25_000 });
  return sentOf(design, key);
}

type Session = pg.PoolClient & { processID?: number };

/** So many sessions of the pool; whatever transaction they leave open is rolled back. */
export async function withSessions<Result>(
  pool: pg.Pool,
  count: number,
  work: (...sessions: pg.PoolClient[]) => Promise<Result>,
): Promise<Result> {
  const sessions = await Promise.all(Array.from({ length: count }, () => pool.connect()));
  try {
    return await work(...sessions);
  } finally {
    for (const session of sessions) {
      await session.query("rollback");
      session.release();
    }
  }
}

/** Resolves when the session stands still at a lock. */
export async function waitForLock(pool: pg.Pool, session: Session, what: string): Promise<void> {
  const isWaiting = async () => {
    const { rowCount } = await pool.query(
      "select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'",
      [session.processID],
    );
    return rowCount === 1;
  };
  await waitFor(isWaiting, { what, intervalMs: 5 });
}

/** Writes events in a transaction of their own. */
export async function commitSteps(
  pool: pg.Pool,
  design: Pick<OutboxDesign, "write">,
  events: readonly Step[],
): Promise<void> {
  await withSessions(pool, 1, async (session = never()) => {
    await session.query("begin");
    await design.write(session, events);
    await session.query("commit");
  });
}

/** Events `from` to `to` of a key. */
export function steps(key: string, from: number, to: number): readonly Step[] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({ key, n: from + index }));
}

/** Keys whose events stand in one shard of Dure, so that their positions come from one sequence. */
export async function keysOfOneShard(pool: pg.Pool, prefix: string, count: number) {
  const { rows } = await pool.query<{ key: string }>(
    `select key from (select $1 || i as key from generate_series(1, 1000) i) k
     where (hashtextextended('step' || chr(31) || key, 0) & 9223372036854775807) % 8 = 0 limit $2`,
    [prefix, count],
  );
  return rows.map(({ key }) => key);
}

/**
 * (a) A takes its transaction id, B changes the aggregate and emits 1, A waits for the aggregate, B commits, A
 * emits 2 and commits. Resolves to what was sent.
 */
export async function firstIdCommitsLast(pool: pg.Pool, design: OutboxDesign, key: string) {
  await pool.query("create table if not exists aggregate (key text primary key, n int)");
  await pool.query(
    "insert into aggregate values ($1, 0) on conflict (key) do update set n = excluded.n",
    [key],
  );
  await withSessions(pool, 2, async (a = never(), b = never()) => {
    const change = (session: pg.PoolClient) =>
      session.query<{ n: number }>("update aggregate set n = n + 1 where key = $1 returning n", [
        key,
      ]);
    const emit = async (session: pg.PoolClient, changed: pg.QueryResult<{ n: number }>) =>
      design.write(session, [{ key, n: changed.rows[0]?.n ?? -1 }]);
    await a.query("begin");
    await a.query("select pg_current_xact_id()");
    await b.query("begin");
    await emit(b, await change(b));
    const waiting = change(a);
    await waitForLock(pool, a, "A's wait for the aggregate");
    await b.query("commit");
    await emit(a, await waiting);
    await a.query("commit");
  });
  return sentInTheEnd(design, key, 2);
}

/** Two sessions emit in turn, each in transactions of its own, the second one first. Resolves to what was sent. */
export async function twoSessionsInTurn(pool: pg.Pool, design: OutboxDesign, key: string) {
  await withSessions(pool, 2, async (a = never(), b = never()) => {
    const commit = async (session: pg.PoolClient, events: readonly Step[]) => {
      await session.query("begin");
      await design.write(session, events);
      await session.query("commit");
    };
    await commit(a, [{ key: `${key}-before`, n: 1 }]);
    await commit(b, [{ key, n: 1 }]);
    await commit(a, [{ key, n: 2 }]);
  });
  return sentInTheEnd(design, key, 2);
}

const gate = 470_001;

/**
 * (b) A draws its position and stands still before its row is there; B commits three times, and the relay looks
 * after each (`look`); then A commits. Resolves to what was sent of A and of B.
 */
export async function lateCommitter(
  pool: pg.Pool,
  design: OutboxDesign,
  { prefix, look = () => design.settle() }: { prefix: string; look?: () => Promise<unknown> },
) {
  const [late = "", other = ""] = await keysOfOneShard(pool, prefix, 2);
  await pool.query(`create or replace function stand_still() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(${gate}); return new; end $$`);
  // A column's default, or the writer's own call, has drawn the position before the trigger runs.
  await pool.query(`create trigger stand_still before insert on ${design.table}
    for each row when (new.key = '${late}') execute function stand_still()`);
  await withSessions(pool, 2, async (a = never(), keeper = never()) => {
    const { writing } = await drawWithoutTransactionId(pool, { a, keeper }, () =>
      design.write(a, [{ key: late, n: 1 }]),
    );
    for (const step of steps(other, 1, 3)) {
      await commitSteps(pool, design, [step]);
      await look();
    }
    await keeper.query("select pg_advisory_unlock_all()");
    await writing;
    await a.query("commit");
  });
  await pool.query(`drop trigger stand_still on ${design.table}`);
  await design.settle();
  await commitSteps(pool, design, steps(other, 4, 4));
  await design.settle();
  return { late: await sentOf(design, late), other: await sentOf(design, other) };
}

/** One in 32 calls of `nextval` is logged and assigns an id; the server's sessions say whether this one has. */
async function drawWithoutTransactionId(
  pool: pg.Pool,
  { a, keeper }: { a: Session; keeper: pg.PoolClient },
  write: () => Promise<void>,
): Promise<{ readonly writing: Promise<void> }> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await keeper.query(`select pg_advisory_lock(${gate})`);
    await a.query("begin");
    const writing = write();
    await waitForLock(pool, a, "the pause after the position was drawn");
    const { rowCount } = await pool.query(
      "select from pg_stat_activity where pid = $1 and backend_xid is null",
      [a.processID],
    );
    // In an object, so that the promise is not waited for here.
    if (rowCount === 1) return { writing };
    await keeper.query("select pg_advisory_unlock_all()");
    await writing;
    await a.query("rollback");
  }
  throw new Error("every call of nextval assigned a transaction id");
}

/**
 * (c) A transaction of another database of the server has written and stays open; meanwhile one of ours rolls back
 * and five commit. Resolves to what was sent while the stranger was open, and in the end.
 */
export async function strangerStaysOpen(
  pool: pg.Pool,
  design: OutboxDesign,
  key: string,
  look: () => Promise<unknown> = () => design.settle(),
) {
  await using other = await createTestDatabase({ migrate: false, name: "unrelated" });
  const stranger = await other.pool.connect();
  try {
    await stranger.query("begin; create table unrelated (a int); insert into unrelated values (1)");
    await withSessions(pool, 1, async (session = never()) => {
      await session.query("begin");
      await design.write(session, [{ key, n: 0 }]);
      await session.query("rollback");
    });
    for (const step of steps(key, 1, 5)) await commitSteps(pool, design, [step]);
    await look();
    const meanwhile = await sentOf(design, key);
    await stranger.query("rollback");
    return { meanwhile, inTheEnd: await sentInTheEnd(design, key, 5) };
  } finally {
    stranger.release();
  }
}

/** (g) Eight events are sent, the sequence is set back as a partial restore does, two more are committed. */
export async function sequenceSetBack(
  pool: pg.Pool,
  design: OutboxDesign,
  { key, sequence }: { readonly key: string; readonly sequence: string },
) {
  await commitSteps(pool, design, steps(key, 1, 8));
  await design.settle();
  await pool.query("select setval($1, 2)", [sequence]);
  await commitSteps(pool, design, steps(key, 9, 10));
  await design.settle();
  return sentOf(design, key);
}

function never(): never {
  throw new Error("withSessions gave fewer sessions than were asked for");
}
