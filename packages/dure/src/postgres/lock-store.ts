import { createHash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { LeaseAnswer, LockAdminStore, LockStore } from "../lock/lock-store.ts";
import { ReleaseListeners } from "../lock/release-listeners.ts";
import { lockSql } from "./lock-sql.ts";
import type { LockSql } from "./lock-sql.ts";
import { textOrNull } from "./message-row.ts";
import type { Notifications } from "./notifications.ts";
import type { PostgresPool } from "./pool.ts";
import { preparedQuery } from "./prepared.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";

/** What lease locks in PostgreSQL are made of. */
export interface PostgresLockStoreParts {
  readonly pool: PostgresPool;
  /** Quoted. */
  readonly schema: string;
  readonly notifications: Pick<Notifications, "tell" | "listen">;
  readonly clock: Clock;
}

/** Another transaction has the row in its hands: nobody knows yet, so somebody holds it. */
const busyMs = 100;
const acquireMsMax = 5_000;

/**
 * Leases in the service's own database: a transaction under a lock releases it in its COMMIT. After a failover to a
 * standby that had not received everything, a lease or a token may have been lost with the rest of the database.
 */
export function postgresLockStore(parts: PostgresLockStoreParts): LockStore & LockNewsEnd {
  const { pool, schema } = parts;
  const sql = lockSql(schema);
  const acquire = preparedQuery(pool, sql.acquire);
  const renew = preparedQuery(pool, sql.renew);
  const release = preparedQuery(pool, sql.release);
  const news = createLockNews(parts, sql);
  return {
    ...news,
    async acquire({ key, holder, label, leaseMs, waitMs }): Promise<LeaseAnswer> {
      try {
        const msMax = Math.min(leaseMs, acquireMsMax);
        const { rows } = await acquire([key, holder, label, leaseMs, waitMs], { msMax });
        const token = rows[0]?.["token"];
        if (token === null) {
          return { kind: "held", remainingMs: Number(rows[0]?.["remaining_ms"]) };
        }
        return { kind: "granted", token: Number(token) };
      } catch (error) {
        if (sqlStateOf(error) === "55P03") return { kind: "held", remainingMs: busyMs };
        throw translateSqlError(error);
      }
    },
    async renew({ key, holder, leaseMs }) {
      const { rowCount } = await renew([key, holder, leaseMs], { msMax: leaseMs });
      return rowCount === 1;
    },
    async release({ key, holder, keepMs }) {
      const { rows } = await release([key, holder, keepMs], { msMax: acquireMsMax });
      return rows[0]?.["is_released"] === true;
    },
    releaseInCommit: ({ key, holder }) => ({ text: sql.commit, params: [key, holder] }),
    ...postgresLockAdmin(pool, schema, ({ key }) => news.tellReleased(key)),
  };
}

/** What an operator may see of these locks and do to them. */
export function postgresLockAdmin(
  pool: PostgresPool,
  schema: string,
  onReleased: (released: { readonly key: string }) => unknown,
): LockAdminStore {
  const sql = lockSql(schema);
  const query: PostgresPool["query"] = async (text, params) => {
    try {
      return await pool.query(text, params);
    } catch (error) {
      throw translateSqlError(error);
    }
  };
  return {
    async list({ prefix, limit }) {
      const { rows } = await query(sql.list, [prefix, limit]);
      return rows.map((row) => ({
        key: String(row["key"]),
        holder: String(row["holder"]),
        token: Number(row["token"]),
        label: String(row["label"]),
        acquiredAt: textOrNull(row["acquired_at"]) ?? undefined,
        remainingMs: Number(row["remaining_ms"]),
      }));
    },
    async forceRelease(key, { actor, reason }) {
      const { rows } = await query(sql.forceRelease, [key, actor, reason]);
      const isReleased = rows[0]?.["is_released"] === true;
      if (isReleased) await onReleased({ key });
      return isReleased;
    },
  };
}

/** News of locks goes with that of the outbox, over one connection. */
export function isLockSubject(subject: string): boolean {
  return subject.startsWith(subjectPrefix);
}

const subjectPrefix = "lock/";

/** As news calls a lock: keys are texts of any kind. */
export function lockSubject(key: string): string {
  return `${subjectPrefix}${createHash("sha256").update(key).digest("hex").slice(0, 16)}`;
}

const tellEveryMs = 5;

/** Resolves when what was released has been told. */
interface LockNewsEnd {
  close(): Promise<void>;
}

/**
 * Who waits where is told when a lock is free: those of this process at once, those of others by NOTIFY, and only
 * where the row says that somebody waits. Many releases in a moment are one question.
 */
function createLockNews(
  { pool, notifications, clock }: PostgresLockStoreParts,
  sql: LockSql,
): Pick<LockStore, "tellReleased" | "listen"> & LockNewsEnd {
  const listeners = new ReleaseListeners();
  const released = new Set<string>();
  let telling: Promise<void> | undefined;
  let hasListened = false;

  const hear = (subjects?: readonly string[]): void => {
    if (subjects === undefined) listeners.tellAll();
    else for (const subject of subjects) listeners.tell(subject);
  };
  const tell = async (): Promise<void> => {
    while (released.size > 0) {
      const keys = [...released];
      released.clear();
      const { rows } = await pool.query(sql.wanted, [keys]);
      if (rows.length > 0) notifications.tell(rows.map((row) => lockSubject(String(row["key"]))));
      await clock.sleep(tellEveryMs);
    }
  };
  return {
    tellReleased(key) {
      listeners.tell(lockSubject(key));
      released.add(key);
      // A lost hint is found by looking.
      telling ??= tell()
        .catch(() => undefined)
        .finally(() => {
          telling = undefined;
        });
    },
    listen(key, wake) {
      if (!hasListened) notifications.listen(hear);
      hasListened = true;
      return listeners.listen(lockSubject(key), wake);
    },
    close: async () => telling,
  };
}
