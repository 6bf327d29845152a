import type { InboxStore } from "../inbox/inbox-store.ts";
import { inboxSql } from "./inbox-sql.ts";
import type { PostgresPool } from "./pool.ts";

/** The inbox in the tables of `0003_inbox.sql`. `schema` is quoted. */
export function postgresInboxStore(pool: PostgresPool, schema: string): InboxStore {
  const sql = inboxSql(schema);
  return {
    async receive(tx, consumer, batch) {
      const previous = batch.flatMap(({ link }) =>
        link.kind === "after" ? [link.previousId] : [],
      );
      const ids = batch.map((message) => message.id);
      const { rows } = await tx.query(sql.receive, [
        consumer,
        ids,
        batch.map((message) => message.topic),
        batch.map((message) => message.key),
        previous,
        batch.map((message) => message.tombstone === true),
      ]);
      const tombstoned = textSet(rows[0]?.["tombstoned"]);
      return {
        fresh: new Set(ids).difference(textSet(rows[0]?.["seen"])).difference(tombstoned),
        parkedKeys: textSet(rows[0]?.["parked"]),
        known: new Set(previous).difference(textSet(rows[0]?.["unknown"])),
        tombstoned,
      };
    },
    async beginBatch(consumer, messageIds) {
      const { rows } = await pool.query(sql.beginBatch, [consumer, messageIds]);
      return rows[0]?.["is_begun"] === true;
    },
    async beginAttempt(consumer, messageId) {
      const { rows } = await pool.query(sql.beginAttempt, [consumer, messageId]);
      return Number(rows[0]?.["started"]);
    },
    async endAttempts(consumer, messageIds) {
      await pool.query(sql.endAttempts, [consumer, messageIds]);
    },
  };
}

function textSet(value: unknown): ReadonlySet<string> {
  return new Set(value as readonly string[] | undefined);
}
