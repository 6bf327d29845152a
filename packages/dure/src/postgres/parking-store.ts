import type { Message } from "../core/message.ts";
import type { DueMessage, ParkingStore, ParkRequest } from "../core/parking.ts";
import { inboxSql } from "./inbox-sql.ts";
import type { PostgresPool } from "./pool.ts";

/** Parked messages in the table of `0003_inbox.sql`. `schema` is quoted. */
export function postgresParkingStore(pool: PostgresPool, schema: string): ParkingStore {
  const sql = inboxSql(schema);
  return {
    async park(tx, requests) {
      if (requests.length === 0) return;
      const side = requests[0]?.side;
      await tx.query(sql.park, [side, storableJson(requests.map(parkedMessageJson))]);
    },
    async due(side, consumer, limit) {
      const { rows } = await pool.query(sql.due, [side, consumer, limit]);
      return rows.map(dueFromRow);
    },
    async take(tx, id, { behind }) {
      const { rows } = await tx.query(sql.take, [id]);
      if (rows[0] === undefined) return [];
      const { rows: next } = behind > 0 ? await tx.query(sql.behind, [id, behind]) : { rows: [] };
      return [...rows, ...next].map(dueFromRow);
    },
    async resolve(tx, ids) {
      await tx.query(sql.resolve, [ids]);
    },
    async fail(id, failure, skips) {
      await pool.query(sql.fail, [id, storableJson(failure), skips]);
    },
  };
}

/** A request to park, as the SQL functions read it. */
export interface ParkedMessageJson extends Omit<ParkRequest, "message"> {
  readonly message: Message & { readonly shard?: number };
}

/** The shard travels inside the envelope, so that its owner alone tries it again. */
export function parkedMessageJson(request: ParkRequest): ParkedMessageJson {
  const { shard, message } = request;
  return shard === undefined ? request : { ...request, message: { ...message, shard } };
}

/**
 * JSON that jsonb takes: it knows neither NUL nor half characters. They can stand only in what is
 * unreadable anyway (they are not valid in JSON data), and that must not keep it from being parked.
 */
export function storableJson(value: unknown): string {
  return JSON.stringify(value, (_name, part: unknown) =>
    typeof part === "string" ? part.toWellFormed().replaceAll("\0", "\u2400") : part,
  );
}

/** A message that is due, from a row of `parked_message`. */
export function dueFromRow(row: Readonly<Record<string, unknown>>): DueMessage {
  const { shard: _shard, ...message } = JSON.parse(String(row["message"])) as Message & {
    shard?: number;
  };
  return {
    id: String(row["id"]),
    message,
    attempts: Number(row["attempts"]),
    shard: Number(row["shard"] ?? -1),
  };
}
