/** The statements of the outbox's store. */
export interface OutboxSql {
  readonly appendOne: string;
  readonly append: string;
  /** Into the log alone. */
  readonly emit: string;
  /** Fails with SQLSTATE 25P01 outside a transaction, and costs nothing inside one. */
  readonly assertTransaction: string;
  readonly cursors: string;
  readonly positions: string;
  readonly writers: string;
  readonly read: string;
  readonly advance: string;
  readonly mark: string;
  readonly watermarks: string;
  readonly prune: string;
  readonly parkedKeys: string;
  readonly parkedAmong: string;
  readonly due: string;
}

/** `schema` is quoted. */
export function outboxSql(schema: string): OutboxSql {
  return {
    appendOne: `/* dure:outbox.append-one */ select ${schema}.outbox_append_one($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9::boolean) as appended`,
    append: `/* dure:outbox.append */ select ${schema}.outbox_append($1, $2::text::jsonb, $3::boolean) as appended`,
    emit: `/* dure:outbox.emit */ select ${schema}.outbox_emit($1, $2::text::jsonb, $3::boolean) as appended`,
    assertTransaction: `/* dure:outbox.assert-transaction */ lock table ${schema}.outbox_setting in access share mode`,
    cursors: `/* dure:outbox.cursors */
      select s.shard, coalesce(c.n, 0)::text as n, coalesce(c.low, 0)::text as low, coalesce(c.done, '{}')::text as done,
        ${schema}.outbox_is_set_back(s.shard, 1) as is_set_back
      from unnest($1::smallint[]) as s (shard)
      left join lateral (
        select n, low, done from ${schema}.outbox_cursor
        where shard = s.shard order by epoch desc, n desc limit 1
      ) c on true`,
    positions: `/* dure:outbox.positions */ select last::text, incarnation, is_paused, tableless from ${schema}.outbox_positions()`,
    // By both of its names: a writer may get a transaction id later, and a prepared one has only that after a
    // restart of the server. Whoever is known by one of them is still there.
    writers: `/* dure:outbox.writers */
      with held as materialized (
        select locktype, classid, objsubid, database, virtualtransaction, transactionid, mode
        from pg_locks where granted and locktype in ('advisory', 'transactionid')
      ), writer as (
        select (h.classid::bigint - s.lock_namespace)::integer as shard, h.virtualtransaction
        from ${schema}.outbox_setting s
        join held h
          on h.locktype = 'advisory' and h.objsubid = 2
          and h.database = (select oid from pg_database where datname = current_database())
          and h.classid::bigint - s.lock_namespace = any ($1::bigint[])
      )
      select shard, virtualtransaction as writer from writer
      union all
      select w.shard, 'xid ' || h.transactionid from writer w
      join held h
        on h.locktype = 'transactionid' and h.mode = 'ExclusiveLock' and h.virtualtransaction = w.virtualtransaction`,
    read: `/* dure:outbox.read */
      select m.shard, m.position::text, m.id, m.previous_id, m.link_verified, m.source, m.topic, m.key,
        m.type, m.version, m.data, m.context, m.written_at, m.previous_at,
        (select incarnation from ${schema}.outbox_setting) as incarnation
      from ${schema}.outbox_read($1, $2, $3, $4, $5, $6) m`,
    advance: `/* dure:outbox.advance */
      select ${schema}.outbox_record(
        $1, $2, $3, $4::smallint[], $5::bigint[], $6::smallint[], $7::bigint[], $8::bigint[], $9::text[],
        $10::text::jsonb, $11::bigint[], $12::text::jsonb
      ) as fenced`,
    mark: `/* dure:outbox.mark */
      insert into ${schema}.outbox_watermark as w (place, mark, incarnation)
      select place, mark, $1 from unnest($2::text[], $3::text[]) as m (place, mark) order by place
      on conflict (place) do update set mark = excluded.mark, incarnation = excluded.incarnation, marked_at = clock_timestamp()
      where (w.incarnation, w.mark) < (excluded.incarnation, excluded.mark)`,
    watermarks: `/* dure:outbox.watermarks */ select place, mark from ${schema}.outbox_watermark where incarnation = $1`,
    // The last hundred, and the first of each hour for a week: by them it is seen when events were published, and that
    // a sequence was set back.
    prune: `/* dure:outbox.prune-cursors */
      delete from ${schema}.outbox_cursor c
      using (
        select shard, epoch, n, written_at,
          row_number() over (partition by shard order by epoch desc, n desc) as age,
          row_number() over (partition by shard, date_trunc('hour', written_at) order by epoch, n) as of_hour
        from ${schema}.outbox_cursor
      ) old
      where old.age > 100 and (old.of_hour > 1 or old.written_at < clock_timestamp() - interval '8 days')
        and c.shard = old.shard and c.epoch = old.epoch and c.n = old.n`,
    // A parked key has one message that blocks it and is not held behind another.
    parkedKeys: `/* dure:outbox.parked-keys */
      select topic || chr(31) || key as key from ${schema}.parked_message
      where side = 'relay' and consumer = $1 and blocks_key and state <> 'held' limit $2`,
    // One look into the index for each key, however many messages wait behind it.
    parkedAmong: `/* dure:outbox.parked-among */
      select k.topic || chr(31) || k.key as key
      from unnest($2::text[], $3::text[]) as k (topic, key)
      cross join lateral (
        select from ${schema}.parked_message p
        where p.side = 'relay' and p.consumer = $1 and p.topic = k.topic and p.key = k.key and p.blocks_key
        limit 1
      ) blocking`,
    // From topic to topic through the index, then the oldest of each topic and shard: what is closed, not due
    // or another relay's is not read. A message that has not failed takes some of those behind it along.
    due: `/* dure:outbox.due */
      with recursive topic as (
        (
          select topic from ${schema}.parked_message
          where side = 'relay' and consumer = $1 and state = 'retrying' order by topic limit 1
        )
        union all
        select (
          select p.topic from ${schema}.parked_message p
          where p.side = 'relay' and p.consumer = $1 and p.state = 'retrying' and p.topic > t.topic
          order by p.topic limit 1
        )
        from topic t where t.topic is not null
      ), head as materialized (
        select h.*, row_number() over (partition by h.topic order by h.next_attempt_at, h.id) as turn
        from topic t
        cross join unnest($2::smallint[]) as s (shard)
        cross join lateral (
          select p.id, p.topic, p.key, p.attempts, p.blocks_key, p.next_attempt_at
          from ${schema}.parked_message p
          where p.side = 'relay' and p.consumer = $1 and p.state = 'retrying' and p.topic = t.topic
            and p.shard = s.shard and p.next_attempt_at <= clock_timestamp()
          order by p.next_attempt_at limit case when t.topic = any ($4::text[]) then 1 else $5::integer / 10 end
        ) h
        where t.topic is not null and t.topic <> all ($3::text[])
      ), chosen as materialized (
        select c.*, count(*) over () as heads
        from (
          select * from head
          where turn = 1 or topic <> all ($4::text[])
          order by turn, next_attempt_at limit $5::integer / 10
        ) c
      )
      select m.id::text, m.message::text, m.attempts, m.shard
      from chosen c
      cross join lateral (
        select p.* from ${schema}.parked_message p
        where p.side = 'relay' and p.consumer = $1 and p.topic = c.topic and p.key = c.key and p.blocks_key
          and p.id >= c.id and c.blocks_key
        order by p.id
        limit case when c.attempts > 0 or c.topic = any ($4::text[]) then 1 else $5::integer / c.heads end
      ) m
      union all
      select m.id::text, m.message::text, m.attempts, m.shard
      from chosen c join ${schema}.parked_message m on m.id = c.id and not m.blocks_key`,
  };
}
