import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import { type OutboxDesign, pollingRelay } from "./outbox-design.ts";

/** The design, and how many positions it waits for. */
export interface SnapshotGapsOutbox extends OutboxDesign {
  gapCount(): number;
}

/**
 * Dure's own order of locks and positions, with gaps closed by snapshots: a position that is missing is given
 * up once every transaction that had an id when the gap was seen is over ("nobody can still fill it"). Our own
 * first design (ADR 0009); the gap-aware tokens of Axon guess by time instead
 * (https://github.com/AxonIQ/AxonFramework/issues/2958).
 *
 * It breaks law O2 (b): 31 of 32 calls of `nextval` assign no transaction id, so a writer that has drawn its
 * position and not yet inserted its row is in no snapshot.
 */
export async function snapshotGapsOutbox(pool: pg.Pool): Promise<SnapshotGapsOutbox> {
  await pool.query(
    "create table snapshot_gaps (id bigint generated always as identity primary key, key text, n int)",
  );
  const progress = new SnapshotProgress();
  return {
    table: "snapshot_gaps",
    gapCount: () => progress.gapCount,
    async write(client, events) {
      await client.query(
        `select pg_advisory_xact_lock(1, hash)
         from (select distinct hashtext(key) as hash from unnest($1::text[]) key order by 1) keys`,
        [events.map(({ key }) => key)],
      );
      for (const { key, n } of events) {
        await client.query("insert into snapshot_gaps (key, n) values ($1, $2)", [key, n]);
      }
    },
    ...pollingRelay(async () => {
      // One statement: the snapshot that is asked is the one that reads.
      const { rows } = await pool.query<SnapshotRow>(
        `select pg_snapshot_xmin(s)::text as xmin, pg_snapshot_xmax(s)::text as xmax, m.id::text, m.key, m.n
         from pg_current_snapshot() s left join snapshot_gaps m on m.id > $1 order by m.id`,
        [progress.low],
      );
      return progress.take(rows);
    }),
  };
}

type SnapshotRow = { readonly xmin: string; readonly xmax: string } & (
  | ({ readonly id: string } & Step)
  | { readonly id: null }
);

class SnapshotProgress {
  /** Up to here all was sent or given up. */
  low = 0;
  readonly #done: Set<number> = new Set();
  /** By missing position: the first transaction id that was not yet given out when it was seen to be missing. */
  readonly #missing: Map<number, bigint> = new Map();

  take(rows: readonly SnapshotRow[]): readonly Step[] {
    const fresh: Step[] = [];
    let head = Math.max(this.low, ...this.#done);
    for (const row of rows) {
      if (row.id === null || this.#done.has(Number(row.id))) continue;
      this.#done.add(Number(row.id));
      head = Math.max(head, Number(row.id));
      fresh.push({ key: row.key, n: row.n });
    }
    const { xmin, xmax } = rows[0] ?? { xmin: "0", xmax: "0" };
    for (let id = this.low + 1; id < head; id += 1) {
      if (this.#done.has(id)) continue;
      const seenAt = this.#missing.get(id);
      if (seenAt === undefined) this.#missing.set(id, BigInt(xmax));
      else if (BigInt(xmin) >= seenAt) this.#done.add(id);
    }
    while (this.#done.delete(this.low + 1)) this.low += 1;
    for (const id of this.#missing.keys()) {
      if (id <= this.low || this.#done.has(id)) this.#missing.delete(id);
    }
    return fresh;
  }

  get gapCount(): number {
    return this.#missing.size;
  }
}
