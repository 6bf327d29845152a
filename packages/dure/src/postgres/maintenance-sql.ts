/** Dedup records that one statement removes: few enough to hold nobody up. */
export const pruneBatch = 5_000;

/** The statements of partition maintenance. */
export interface MaintenanceSql {
  readonly days: string;
  readonly create: string;
  readonly expired: string;
  readonly drop: string;
  /** Whether an outbox partition (`%I.%I` is filled by the SQL function) still holds something unpublished. */
  readonly outboxIsNeeded: string;
  /** Whether a log partition still holds something that a group has not read. */
  readonly logIsNeeded: string;
  readonly pruneInbox: string;
}

/** `schema` is quoted. */
export function maintenanceSql(schema: string): MaintenanceSql {
  return {
    days: `/* dure:maintenance.days */
      select to_char(d, 'YYYY-MM-DD') as day
      from generate_series((clock_timestamp() at time zone 'UTC')::date, (clock_timestamp() at time zone 'UTC')::date + 3, interval '1 day') d`,
    create: `/* dure:maintenance.create */ select ${schema}.partition_create($1, $2::date) as is_there`,
    expired: `/* dure:maintenance.expired */
      select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = ('${schema}.' || $1)::regclass and c.relname ~ '_\\d{8}$'
        and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (clock_timestamp() at time zone 'UTC' - $2::float8 * interval '1 ms')::date
      order by c.relname limit 8`,
    drop: `/* dure:maintenance.drop */ select ${schema}.partition_drop($1, $2, $3) as is_gone`,
    outboxIsNeeded: `select exists (
      select 1 from %I.%I m
      left join lateral (
        select low, done from ${schema}.outbox_cursor
        where shard = m.shard order by epoch desc, n desc limit 1
      ) c on true
      where not (m.position <= coalesce(c.low, 0) or coalesce(c.done @> m.position, false))
    )`,
    logIsNeeded: `select exists (
      select 1 from (select topic, partition, max(position) as position from %I.%I group by topic, partition) m
      join (
        select consumer, topic, partition, max(position) as position
        from ${schema}.log_offset group by consumer, topic, partition
      ) o on o.topic = m.topic and o.partition = m.partition and o.position < m.position
    )`,
    pruneInbox: `/* dure:maintenance.prune-inbox */
      delete from ${schema}.inbox_message where ctid = any (array(
        select ctid from ${schema}.inbox_message
        where received_at < clock_timestamp() - $1::float8 * interval '1 ms'
        order by received_at limit ${pruneBatch}
      ))`,
  };
}
