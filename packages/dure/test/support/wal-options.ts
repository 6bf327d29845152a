import pg from "pg";
import { PgoutputPlugin } from "pg-logical-replication";
import type { WalOptions } from "../../src/postgres/index.ts";
import { waitFor } from "./wait-for.ts";

/** What makes a service on this database relay by the write-ahead log. */
export function walOptions(url: string, more: Partial<WalOptions> = {}): WalOptions {
  return {
    // The types of pg do not know the option, pg does.
    connect: () =>
      new pg.Client({ connectionString: url, replication: "database" } as pg.ClientConfig),
    decoder: (options) => new PgoutputPlugin(options),
    ...more,
  };
}

/** What a relay finds in the write-ahead log. */
export type WalKind = "rows" | "messages";

/** {@link walOptions} by kind. */
export function walOf(kind: WalKind | undefined, url: string): WalOptions | undefined {
  return kind && walOptions(url, { tableless: kind === "messages" });
}

/** Ends the slot of a database's outbox, and whoever reads it. */
export async function dropWalSlot(pool: pg.Pool): Promise<void> {
  const isGone = async () => {
    await pool.query(
      `select pg_terminate_backend(active_pid) from dure.outbox_wal where active_pid is not null;
       select pg_drop_replication_slot(slot_name) from dure.outbox_wal where active_pid is null`,
    );
    const { rows } = await pool.query("select 1 from dure.outbox_wal");
    return rows.length === 0;
  };
  await waitFor(isGone, { what: "the slot's end" });
}
