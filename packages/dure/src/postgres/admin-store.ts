import type {
  AdminStore,
  DeadLetterFilter,
  RelayShard,
  RelayStatus,
} from "../admin/admin-store.ts";
import { adminSql } from "./admin-sql.ts";
import { textOf } from "./message-row.ts";
import { tellOnce } from "./notifications.ts";
import { quoteIdentifier } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";
import { translateSqlError } from "./sqlstate.ts";

/** What an operator may see and do, in PostgreSQL. */
export function postgresAdminStore(pool: PostgresPool, schemaName: string): AdminStore {
  const sql = adminSql(quoteIdentifier(schemaName));
  return {
    async status() {
      const { rows } = await pool.query(sql.status);
      const row = rows[0] ?? {};
      return {
        pending: Number(row["pending"]),
        oldestPendingSeconds: Number(row["oldest"]),
        deadLetters: Number(row["dead"]),
        waiting: Number(row["waiting"]),
        parkedKeys: Number(row["keys"]),
        relays: Number(row["relays"]),
        isPaused: row["is_paused"] === true,
        outboxBytes: Number(row["bytes"]),
      };
    },
    async oldestPending() {
      const row = (await pool.query(sql.oldestPending)).rows[0];
      return (
        row && {
          id: String(row["id"]),
          topic: String(row["topic"]),
          type: String(row["type"]),
          shard: Number(row["shard"]),
          seconds: Number(row["seconds"]),
        }
      );
    },
    async deadLetters(filter, limit) {
      const { rows } = await pool.query(sql.deadLetters, [...filterColumns(filter), limit]);
      return rows.map((row) => ({
        id: String(row["id"]),
        side: row["side"] === "relay" ? "relay" : "consumer",
        consumer: String(row["consumer"]),
        topic: String(row["topic"]),
        key: String(row["key"]),
        messageId: String(row["message_id"]),
        type: String(row["type"]),
        attempts: Number(row["attempts"]),
        errorCode: textOrNull(row["error_code"]),
        lastError: textOrNull(row["last_error"]),
        firstFailedAt: textOrNull(row["first_failed_at"]),
        lastFailedAt: textOrNull(row["last_failed_at"]),
        traceparent: textOrNull(row["traceparent"]),
        heldCount: Number(row["held"]),
      }));
    },
    async redrive(filter, limit, { actor, reason }) {
      const params = [...filterColumns(filter), limit, actor, reason ?? null];
      return (await pool.query(sql.redrive, params)).rows.length;
    },
    async discard(filter, limit, { actor, reason }) {
      const params = [...filterColumns(filter), limit, actor, reason];
      return (await pool.query(sql.discard, params)).rows.length;
    },
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
      const { rows } = await pool
        .query(sql.rebase, [shards ?? null, actor, reason])
        .catch((error: unknown) => {
          throw translateSqlError(error);
        });
      await tellOnce(pool, outboxNews(schemaName));
      return rows.map((row) => ({
        shard: Number(row["shard"]),
        moved: Number(row["moved"]),
        incarnation: Number(row["incarnation"]),
      }));
    },
  };
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
    pause:
      row["actor"] === null
        ? null
        : {
            actor: String(row["actor"]),
            reason: String(row["reason"]),
            pausedAt: textOrNull(row["paused_at"]) ?? "",
          },
    incarnation: Number(row["incarnation"]),
    relays: Number(row["relays"]),
    pending: shards.reduce((sum, { pending }) => sum + pending, 0),
    retrying: Number(row["retrying"]),
    parked: Number(row["parked"]),
    shards,
  };
}

function filterColumns(filter: DeadLetterFilter): readonly unknown[] {
  const { id, side, consumer, topic, key, type } = filter;
  return [id, side, consumer, topic, key, type].map((value) => value ?? null);
}

function textOrNull(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  return value instanceof Date ? value.toISOString() : textOf(value);
}
