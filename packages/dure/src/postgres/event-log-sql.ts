/** The statements of the event log. */
export interface EventLogSql {
  readonly append: string;
  readonly partitionCount: string;
  readonly register: string;
  readonly offsets: string;
  readonly read: string;
  readonly commit: string;
  readonly prune: string;
  readonly lag: string;
}

/** `schema` is quoted. */
export function eventLogSql(schema: string): EventLogSql {
  return {
    append: `/* dure:log.append */ select ${schema}.log_publish($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::bigint[]) as partitions`,
    partitionCount: `/* dure:log.partition-count */ select partition_count from ${schema}.log_setting`,
    // A group that is new to a topic begins at its start, or at its end as of now.
    register: `/* dure:log.register */
      insert into ${schema}.log_offset (consumer, topic, partition, position)
      select $1, t.topic, p.partition, case when $3::boolean then coalesce((
        select max(m.position) from ${schema}.log_message m
        where m.topic = t.topic and m.partition = p.partition
      ), 0) else 0 end
      from unnest($2::text[]) as t (topic)
      cross join ${schema}.log_setting s
      cross join lateral generate_series(0, s.partition_count - 1) as p (partition)
      where not exists (
        select 1 from ${schema}.log_offset o
        where o.consumer = $1 and o.topic = t.topic and o.partition = p.partition
      )
      on conflict do nothing`,
    offsets: `/* dure:log.offsets */
      select t.topic, p.partition, (
        select max(o.position) from ${schema}.log_offset o
        where o.consumer = $1 and o.topic = t.topic and o.partition = p.partition
      )::text as position
      from unnest($2::text[]) as t (topic) cross join unnest($3::smallint[]) as p (partition)`,
    read: `/* dure:log.read */
      select m.partition, m.position::text, m.envelope, m.data
      from ${schema}.log_read($1, $2, $3, $4) m`,
    commit: `/* dure:log.commit */
      insert into ${schema}.log_offset (consumer, topic, partition, position)
      select $1, o.topic, o.partition, o.position
      from unnest($2::text[], $3::smallint[], $4::bigint[]) as o (topic, partition, position)
      on conflict do nothing`,
    prune: `/* dure:log.prune-offsets */
      delete from ${schema}.log_offset o
      where o.consumer = $1 and o.position < (
        select max(n.position) from ${schema}.log_offset n
        where n.consumer = o.consumer and n.topic = o.topic and n.partition = o.partition
      )`,
    lag: `/* dure:log.lag */
      select o.consumer, o.topic, sum((
        select count(*) from ${schema}.log_message m
        where m.topic = o.topic and m.partition = o.partition and m.position > o.position
      ))::text as lag
      from (
        select consumer, topic, partition, max(position) as position
        from ${schema}.log_offset group by consumer, topic, partition
      ) o
      group by o.consumer, o.topic order by o.consumer, o.topic`,
  };
}
