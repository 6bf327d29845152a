import type {
  AdminStore,
  RebasedShard,
  RelayPause,
  RelayShard,
  RelayStatus,
} from "../admin/admin-store.ts";
import { assert, DureError } from "../core/errors.ts";
import { textOrNull } from "./message-row.ts";
import { tellOnce } from "./notifications.ts";
import { quoteIdentifier, takeClient } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";
import { relayAdminSql } from "./relay-admin-sql.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";
import { walSlot } from "./wal-slot.ts";
import { walSql } from "./wal-sql.ts";

/** The part of {@link AdminStore} that is about the relays. */
export function postgresRelayAdmin(
  pool: PostgresPool,
  schemaName: string,
  patientPool: PostgresPool,
): Pick<
  AdminStore,
  "relayStatus" | "pauseRelays" | "resumeRelays" | "rebase" | "republish" | "resync"
> {
  const sql = relayAdminSql(quoteIdentifier(schemaName));
  return {
    async relayStatus() {
      const { rows } = await pool.query(sql.relayStatus);
      return relayStatusFromRows(rows);
    },
    async pauseRelays({ actor, reason }) {
      const { rows } = await pool.query(sql.pause, [actor, reason]);
      await tellOnce(pool, outboxNews(schemaName));
      return rows.length > 0;
    },
    async resumeRelays({ actor, reason }) {
      const { rows } = await pool.query(sql.resume, [actor, reason ?? null]);
      await tellOnce(pool, outboxNews(schemaName));
      return rows.length > 0;
    },
    async rebase(shards, { actor, reason }) {
      const { rows } = await patientPool
        .query(sql.rebase, [shards ?? null, actor, reason])
        .catch((error: unknown) => {
          throw translateSqlError(error);
        });
      await tellOnce(pool, outboxNews(schemaName));
      return rows.map(movedShardFromRow);
    },
    async republish({ topic, since }, { actor, reason }) {
      const [state] = (await pool.query(sql.tableless)).rows;
      if (state?.["tableless"] !== "off") throw nothingToRepublish();
      const rows = await inOneTransaction(pool, [
        ...sql.republishLocks.map((text) => ({ text, params: [] })),
        { text: sql.republish, params: [topic ?? null, since, actor, reason] },
      ]);
      await tellOnce(pool, outboxNews(schemaName));
      return rows.map(movedShardFromRow);
    },
    async resync({ actor, reason }) {
      const wal = walSql(quoteIdentifier(schemaName));
      const slot = walSlot(patientPool, wal);
      await slot.settings();
      if ((await slot.state())?.walStatus === "lost") await slot.drop();
      if ((await slot.state()) === undefined) await slot.create();
      const { rows } = await patientPool.query(wal.resync, [actor, reason]);
      const shards = rows.map((row) => ({
        shard: Number(row["shard"]),
        missing: Number(row["missing"]),
      }));
      return { shards, missing: shards.reduce((sum, { missing }) => sum + missing, 0) };
    },
  };
}

function movedShardFromRow(row: Readonly<Record<string, unknown>>): RebasedShard {
  return {
    shard: Number(row["shard"]),
    moved: Number(row["moved"]),
    incarnation: Number(row["incarnation"]),
  };
}

function nothingToRepublish(): DureError {
  return new DureError(
    "CONFIGURATION_INVALID",
    "nothing can be published again: the events of this outbox stand in the write-ahead log alone (tableless), and the log goes when they are published. Emit what is missing from the business rows",
  );
}

/** The rows of the last statement. */
async function inOneTransaction(
  pool: PostgresPool,
  statements: readonly { readonly text: string; readonly params: readonly unknown[] }[],
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { client, release } = await takeClient(pool);
  let isBroken = true;
  try {
    await client.query("begin");
    let rows: readonly Readonly<Record<string, unknown>>[] = [];
    for (const { text, params } of statements) ({ rows } = await client.query(text, params));
    const { command } = await client.query("commit");
    assert(command === "COMMIT", "a transaction without a failed statement commits");
    isBroken = false;
    return rows;
  } catch (error) {
    isBroken = await client.query("rollback").then(
      () => false,
      () => true,
    );
    if (sqlStateOf(error) !== "55P03") throw translateSqlError(error);
    throw new DureError(
      "OUTBOX_BUSY",
      "a writer's transaction has stayed open for 2 s; nothing was changed. End it (pg_stat_activity) and run this again",
      { cause: error },
    );
  } finally {
    release(isBroken);
  }
}

/** What sets the outbox's news apart from others in the database. */
export function outboxNews(schemaName: string): string {
  return `outbox.${schemaName}`;
}

function relayStatusFromRows(rows: readonly Readonly<Record<string, unknown>>[]): RelayStatus {
  const shards = rows.map((row): RelayShard => {
    const leaseMsLeft = row["lease_ms_left"];
    return {
      shard: Number(row["shard"]),
      owner: textOrNull(row["owner"]),
      leaseMsLeft: leaseMsLeft === null ? null : Math.round(Number(leaseMsLeft)),
      epoch: Number(row["epoch"]),
      low: Number(row["low"]),
      head: Number(row["head"]),
      last: Number(row["last"]),
      gaps: Number(row["gaps"]),
      pending: Number(row["pending"]),
      isSetBack: row["is_set_back"] === true,
    };
  });
  const row = rows[0] ?? {};
  return {
    pause: pauseFromRow(row),
    incarnation: Number(row["incarnation"]),
    relays: Number(row["relays"]),
    pending: shards.reduce((sum, { pending }) => sum + pending, 0),
    retrying: Number(row["retrying"]),
    parked: Number(row["parked"]),
    shards,
  };
}

function pauseFromRow(row: Readonly<Record<string, unknown>>): RelayPause | null {
  const actor = textOrNull(row["actor"]);
  if (actor === null) return null;
  return {
    actor,
    reason: textOrNull(row["reason"]) ?? "",
    pausedAt: textOrNull(row["paused_at"]) ?? "",
  };
}
