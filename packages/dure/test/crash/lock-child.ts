/** A process that works under locks and says what it saw. Its plan comes as JSON in DURE_CHILD_PLAN. */
import { setImmediate, setTimeout as delay } from "node:timers/promises";
import { createClient } from "redis";
import pg from "pg";
import { createDure, isDureError, systemClock } from "../../src/index.ts";
import type { TransactionHandle } from "../../src/index.ts";
import type { LockStore } from "../../src/lock/index.ts";
import { postgresFencedTable, postgresLockGuard, postgresStore } from "../../src/postgres/index.ts";
import { redisLockStore } from "../../src/redis/index.ts";
import type { Operation } from "../support/linearizability.ts";
import type { LeaseAnswered, LeaseAsked, WriteAsked } from "../support/lock-models.ts";
import { wrapPool } from "../support/wrap-pool.ts";

/** How a key is worked on: which of the guards stands before the write. */
export type WorkKind = "with-lock" | "guard" | "fenced-row" | "unguarded";

export interface LockChildPlan {
  readonly name: string;
  readonly url: string;
  /** Locks are kept there; otherwise in the database. */
  readonly redisUrl?: string | undefined;
  readonly keys: readonly { readonly key: string; readonly kind: WorkKind }[];
  readonly rounds: number;
  readonly leaseMs: number;
}

/** What it says. */
export type LockChildMessage =
  | { readonly inside: string }
  | { readonly lease: Operation<LeaseAsked, LeaseAnswered>; readonly key: string }
  | { readonly write: Operation<WriteAsked, { isWritten: boolean }>; readonly key: string }
  | { readonly isDone: true };

const plan = JSON.parse(process.env["DURE_CHILD_PLAN"] ?? "{}") as LockChildPlan;
const { leaseMs, name } = plan;
const pool = new pg.Pool({ connectionString: plan.url, max: 8 });
pool.on("error", () => {});
const redis =
  plan.redisUrl === undefined
    ? undefined
    : await createClient({ url: plan.redisUrl })
        .on("error", () => {})
        .connect();
const store = postgresStore({
  pool: wrapPool(pool, {
    async onClient(text, run) {
      // After the last look of its own at the lease: only the database can refuse what it does when it was frozen here.
      if (text.includes("dure:lock.commit") && systemClock.random() < 0.3) await pause("a commit");
      return run();
    },
  }),
  idleInTransactionMsMax: 4 * leaseMs,
});
const dure = createDure({
  service: name,
  store,
  locks: {
    store: recording(redis === undefined ? store.locks : redisLockStore({ client: redis })),
  },
});
const guard = postgresLockGuard();
const rows = postgresFencedTable({ table: "counter", holderColumn: "holder", columns: ["value"] });

function say(message: LockChildMessage): void {
  console.log(JSON.stringify(message));
}

/** A release that goes with a COMMIT: what becomes of that, becomes of it. */
let releasing: { key: string; holder: string; invokedAt: number } | undefined;

function sayReleasing(isCommitted: boolean): void {
  if (releasing === undefined) return;
  const { key, holder, invokedAt } = releasing;
  releasing = undefined;
  const answer = isCommitted ? { is: true } : undefined;
  const asked = { kind: "release", holder } as const;
  say({ key, lease: { process: name, asked, answer, invokedAt, answeredAt: now() } });
}

/** Of the whole machine, in milliseconds. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

async function recorded<Result>(
  key: string,
  asked: LeaseAsked,
  run: () => Promise<Result>,
  answerOf: (result: Result) => LeaseAnswered,
): Promise<Result> {
  const invokedAt = now();
  let answer: LeaseAnswered | undefined;
  try {
    const result = await run();
    answer = answerOf(result);
    return result;
  } finally {
    say({ key, lease: { process: name, asked, answer, invokedAt, answeredAt: now() } });
  }
}

function recording(inner: LockStore): LockStore {
  const boolean = (is: boolean): LeaseAnswered => ({ is });
  const { releaseInCommit } = inner;
  return {
    ...inner,
    ...(releaseInCommit !== undefined && {
      releaseInCommit(lease) {
        releasing = { ...lease, invokedAt: now() };
        return releaseInCommit(lease);
      },
    }),
    acquire: (request) =>
      recorded(
        request.key,
        { kind: "acquire", holder: request.holder, leaseMs: request.leaseMs },
        () => inner.acquire(request),
        (answer) =>
          answer.kind === "granted" ? { token: answer.token } : { isHeldByAnother: true },
      ),
    renew: (lease) =>
      recorded(
        lease.key,
        { kind: "renew", holder: lease.holder, leaseMs: lease.leaseMs },
        () => inner.renew(lease),
        boolean,
      ),
    release: (lease) =>
      recorded(
        lease.key,
        { kind: "release", holder: lease.holder },
        () => inner.release(lease),
        boolean,
      ),
  };
}

/** Says that it believes to hold the lock, when it does: by the signal once the loop has turned, and by the clock. */
async function believe(
  key: string,
  held: { readonly holder: string; readonly signal: AbortSignal; readonly isHeld?: boolean },
): Promise<void> {
  const asked = { kind: "believe", holder: held.holder } as const;
  const answer = { is: true };
  const before = now();
  await setImmediate();
  if (!held.signal.aborted) {
    say({ key, lease: { process: name, asked, answer, invokedAt: before, answeredAt: now() } });
  }
  const invokedAt = now();
  if (held.isHeld === true) {
    say({ key, lease: { process: name, asked, answer, invokedAt, answeredAt: now() } });
  }
}

/** Here the process may be frozen. */
async function pause(where: string): Promise<void> {
  say({ inside: where });
  await delay(5 + systemClock.random() * 25);
}

/** Reads the number; then the process may be frozen; writes the next. */
async function readAndPause(key: string, tx: TransactionHandle): Promise<number> {
  const { rows: found } = await tx.query("select value::int from counter where id = $1", [key]);
  await pause(key);
  return Number(found[0]?.["value"]);
}

async function increment(key: string, tx: TransactionHandle, read: number): Promise<void> {
  await tx.query("update counter set value = $1 where id = $2", [read + 1, key]);
}

/** The next statement says it again. */
function ignoreLoss(): void {}

interface Written {
  token?: number;
  read?: number;
}

async function workWithLock(key: string, written: Written): Promise<void> {
  await dure.locks.withLock(key, { leaseMs, waitMs: 20_000 }, async (locked) => {
    written.token = locked.token;
    await believe(key, locked);
    written.read = await readAndPause(key, locked.tx);
    await believe(key, locked);
    await increment(key, locked.tx, written.read);
  });
}

/** Somebody who never looks at the signal: as one whose event loop was blocked. */
async function workUnaware(key: string, kind: WorkKind, written: Written): Promise<void> {
  await using lease = await dure.locks.acquire(key, { leaseMs, waitMs: 20_000 });
  const { token, holder } = lease;
  written.token = token;
  const client = await pool.connect();
  client.on("error", ignoreLoss);
  try {
    // Frozen here, it comes to the guard when another has been there.
    if (systemClock.random() < 0.5) await pause(key);
    await client.query(`begin; set local idle_in_transaction_session_timeout = ${4 * leaseMs}`);
    if (kind === "guard") await guard.assertNewest(client, { resource: key, token, holder });
    // Before it is read: what a row is fenced with, it is fenced with for its reader, too.
    if (kind === "fenced-row") await rows.update(client, { id: key, token, holder, set: {} });
    await believe(key, lease);
    written.read = await readAndPause(key, client);
    await believe(key, lease);
    await increment(key, client, written.read);
    await client.query("commit");
    client.off("error", ignoreLoss);
    client.release();
  } catch (error) {
    client.release(true);
    throw error;
  }
}

async function work({ key, kind }: LockChildPlan["keys"][number]): Promise<void> {
  const written: Written = {};
  const invokedAt = now();
  let answer: { isWritten: boolean } | undefined;
  try {
    await (kind === "with-lock" ? workWithLock(key, written) : workUnaware(key, kind, written));
    answer = { isWritten: true };
  } catch (error) {
    // Anything but an error of COMMIT itself has written nothing; a lost connection may be one.
    const isKnown = ["LEASE_LOST", "FENCED", "LOCK_TIMED_OUT"].some(
      (code) => isDureError(error) && error.code === code,
    );
    if (isKnown) answer = { isWritten: false };
    if (isDureError(error, "LEASE_LOST") || isDureError(error, "FENCED")) {
      console.log(`refused ${key}: ${error.code}`);
    }
  }
  sayReleasing(answer?.isWritten === true);
  const { token, read } = written;
  if (token === undefined) return;
  const asked = { token, read };
  say({ key, write: { process: name, asked, answer, invokedAt, answeredAt: now() } });
}

await redis?.ping();
await pool.query("select 1");
for (let round = 0; round < plan.rounds; round += 1) {
  const chosen = plan.keys[Math.floor(systemClock.random() * plan.keys.length)];
  if (chosen !== undefined) await work(chosen);
}
say({ isDone: true });
await dure.stop();
await redis?.close();
await pool.end();
