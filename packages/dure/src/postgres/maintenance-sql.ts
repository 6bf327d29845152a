/** Dedup records that one statement removes: few enough to hold nobody up. */
export const pruneBatch = 5_000;

/** Sagas that one statement removes, with some five entries each. */
export const retireBatch = 1_000;

/** The statements of maintenance. */
export interface MaintenanceSql {
  readonly days: string;
  readonly create: string;
  readonly count: string;
  readonly expired: string;
  /** Whether the default partition (`%I.%I`) holds something, and nothing that is young. */
  readonly restIsExpired: (table: PartitionedTable) => string;
  readonly retire: string;
  /** Whether a partition (`%I.%I` is filled by the SQL function) still holds something that is needed. */
  readonly isNeeded: Readonly<Record<PartitionedTable, string>>;
  readonly waitingForArchive: string;
  readonly setBackShards: string;
  readonly pruneInbox: string;
  readonly pruneKeys: string;
  readonly retireSagas: string;
  readonly pruneLocks: string;
  readonly pruneGuards: string;
}

/** A table that is partitioned by day. */
export type PartitionedTable = "outbox_message" | "log_message";

const timeColumns: Readonly<Record<PartitionedTable, string>> = {
  outbox_message: "written_at",
  log_message: "appended_at",
};

/** `schema` is quoted. */
export function maintenanceSql(schema: string): MaintenanceSql {
  return {
    days: `/* dure:maintenance.days */
      select to_char(d, 'YYYY-MM-DD') as day
      from generate_series((clock_timestamp() at time zone 'UTC')::date, (clock_timestamp() at time zone 'UTC')::date + 3, interval '1 day') d`,
    create: `/* dure:maintenance.create */ select ${schema}.partition_create($1, $2::date) as is_there`,
    count: `/* dure:maintenance.count */
      select count(*)::text as count from pg_inherits where inhparent = ('${schema}.' || $1)::regclass`,
    expired: `/* dure:maintenance.expired */
      select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = ('${schema}.' || $1)::regclass and c.relname ~ '_\\d{8}$'
        and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (clock_timestamp() at time zone 'UTC' - $2::float8 * interval '1 ms')::date
      order by c.relname limit 8`,
    restIsExpired: (table) => `/* dure:maintenance.rest-is-expired */
      select exists (select from ${schema}.${table}_rest) and not exists (
        select from ${schema}.${table}_rest
        where ${timeColumns[table]} >= clock_timestamp() - $1::float8 * interval '1 ms'
      ) as is_expired`,
    retire: `/* dure:maintenance.retire */ select ${schema}.partition_retire($1, $2, $3, $4) as outcome`,
    isNeeded: {
      // By the index, in the ranges that are not done: all writers wait for the answer.
      outbox_message: `select exists (
        select from generate_series(0, 63) as s (shard)
        left join lateral (
          select low, done from ${schema}.outbox_cursor
          where shard = s.shard order by epoch desc, n desc limit 1
        ) c on true
        cross join lateral ${schema}.outbox_open_ranges(c.low, c.done) r
        cross join lateral (
          select from %I.%I m where m.shard = s.shard and m.position between r.first and r.last limit 1
        ) m
      )`,
      log_message: `select exists (
        select from (
          select consumer, topic, partition, max(position) as position
          from ${schema}.log_offset group by consumer, topic, partition
        ) o
        cross join lateral (
          select from %I.%I m
          where m.topic = o.topic and m.partition = o.partition and m.position > o.position limit 1
        ) m
      )`,
    },
    waitingForArchive: `/* dure:maintenance.waiting-for-archive */
      select count(*)::text as count from ${schema}.partition_archive where dropped_at is null`,
    setBackShards: `/* dure:maintenance.set-back-shards */
      select s.shard
      from ${schema}.outbox_setting o cross join lateral generate_series(0, o.shard_count - 1) as s (shard)
      where ${schema}.outbox_is_set_back(s.shard::smallint, 200) order by s.shard`,
    retireSagas: `/* dure:maintenance.retire-sagas */ select ${schema}.saga_retire($1, $2) as count`,
    // The sequence of the tokens goes on, so a key that comes again begins no count of its own.
    pruneLocks: `/* dure:maintenance.prune-locks */
      delete from ${schema}.lock_lease where ctid = any (array(
        select l.ctid from ${schema}.lock_lease l
        where l.expires_at < clock_timestamp() - interval '1 day' limit ${pruneBatch}
        for update skip locked
      ))`,
    // Longer than any holder that has lost its lock can still want to write.
    pruneGuards: `/* dure:maintenance.prune-guards */
      delete from ${schema}.lock_guard where ctid = any (array(
        select g.ctid from ${schema}.lock_guard g
        where g.written_at < clock_timestamp() - interval '30 days' limit ${pruneBatch}
        for update skip locked
      ))`,
    // By the index, in small pieces; a record that is being written anew is left to the next time.
    pruneKeys: `/* dure:maintenance.prune-keys */
      delete from ${schema}.idempotency_record where ctid = any (array(
        select ctid from ${schema}.idempotency_record
        where expires_at < clock_timestamp() order by expires_at limit ${pruneBatch} for update skip locked
      ))`,
    // A record of a message that is parked is kept, whatever its age: a copy that came meanwhile would be handled
    // beside it.
    pruneInbox: `/* dure:maintenance.prune-inbox */
      delete from ${schema}.inbox_message where ctid = any (array(
        select i.ctid from ${schema}.inbox_message i
        where i.received_at < clock_timestamp() - $1::float8 * interval '1 ms'
          and not exists (
            select from ${schema}.parked_message p
            where p.side = 'consumer' and p.consumer = i.consumer and p.message_id = i.message_id
          )
        order by i.received_at limit ${pruneBatch}
      ))`,
  };
}
