/** The statements of the relay by the write-ahead log. */
export interface WalSql {
  readonly settings: string;
  readonly publish: string;
  readonly slot: string;
  readonly createSlot: string;
  readonly dropSlot: string;
  readonly endReader: string;
  readonly setTableless: string;
  readonly logEnd: string;
  readonly flushLog: string;
  readonly resync: string;
}

/** `schema` is quoted. */
export function walSql(schema: string): WalSql {
  return {
    settings: `/* dure:wal.settings */
      select current_setting('wal_level') as wal_level, ${schema}.outbox_wal_slot() as slot,
        ${schema}.outbox_wal_publication() as publication,
        (select tableless from ${schema}.outbox_setting) as tableless`,
    publish: `/* dure:wal.publish */ select ${schema}.outbox_wal_publish()`,
    slot: `/* dure:wal.slot */
      select active_pid, wal_status, lag_bytes::text, tableless from ${schema}.outbox_wal`,
    createSlot: `/* dure:wal.create-slot */
      select pg_create_logical_replication_slot(${schema}.outbox_wal_slot(), 'pgoutput')`,
    dropSlot: `/* dure:wal.drop-slot */
      select pg_drop_replication_slot(slot_name) from ${schema}.outbox_wal where active_pid is null`,
    endReader: `/* dure:wal.end-reader */
      select pg_terminate_backend(active_pid) from ${schema}.outbox_wal where active_pid is not null`,
    setTableless: `/* dure:wal.set-tableless */ select ${schema}.outbox_set_tableless($1) as before`,
    logEnd: `/* dure:wal.log-end */
      select pg_current_wal_insert_lsn()::text as lsn, current_setting('wal_block_size')::integer as block_size`,
    // A commit, which writes out all of the log before it: what a rolled-back transaction left there else waits for one.
    flushLog: `/* dure:wal.flush-log */ select pg_logical_emit_message(true, 'dure.flush', '')`,
    resync: `/* dure:wal.resync */ select shard, missing::text from ${schema}.outbox_wal_resync($1, $2)`,
  };
}
