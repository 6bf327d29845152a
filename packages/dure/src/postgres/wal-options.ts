import type { PgoutputDecoder, PgoutputOptions, ReplicationClient } from "./wal-stream.ts";

/** Relaying by the write-ahead log: what `postgresStore` takes as `wal`. */
export interface WalOptions {
  /**
   * Makes a client of `pg` for replication, not yet connected: `new pg.Client({ …, replication: "database" })`.
   * It goes to the server directly, past any pooler, as a role with the attribute `replication`. Each is
   * ended here.
   */
  readonly connect: () => ReplicationClient;
  /** Makes a decoder: `(options) => new PgoutputPlugin(options)` of the package `pg-logical-replication`. */
  readonly decoder: (options: PgoutputOptions) => PgoutputDecoder;
  /**
   * Events stand in the log alone and in no table: nothing to retain, to look at or to publish again, and a
   * lost slot loses those that were not published. @defaultValue false
   */
  readonly tableless?: boolean;
  /** Events that may have come and are not published and recorded; then the log is read no further. @defaultValue 20000 */
  readonly eventsMax?: number;
  /** From so many bytes of log that the server keeps for us a warning is logged. @defaultValue 1 GiB */
  readonly lagBytesMax?: number;
}
