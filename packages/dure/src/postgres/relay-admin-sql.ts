/** The statements behind what an operator may see of the relays, and do with them. */
export interface RelayAdminSql {
  readonly relayStatus: string;
  readonly pause: string;
  readonly resume: string;
  readonly rebase: string;
  readonly tableless: string;
  /** In this order, in one transaction: {@link RelayAdminSql.republish} after both locks. */
  readonly republishLocks: readonly string[];
  readonly republish: string;
}

/** `schema` is quoted. */
export function relayAdminSql(schema: string): RelayAdminSql {
  return {
    relayStatus: `/* dure:admin.relay-status */
      with open as materialized (
        ${openRanges(schema)}
      )
      select s.shard, w.member_id as owner, extract(epoch from w.lease_until - clock_timestamp())::float8 * 1000 as lease_ms_left,
        coalesce(k.epoch, 0)::text as epoch, coalesce(c.low, 0)::text as low,
        greatest(c.low, coalesce(upper(range_merge(c.done)) - 1, 0), 0)::text as head,
        coalesce(pg_sequence_last_value(s.sequence), 0)::text as last,
        (select count(*) - 1 from open o where o.shard = s.shard)::text as gaps,
        (select count(*) from open o cross join lateral (
          select from ${schema}.outbox_message m
          where m.shard = o.shard and m.position between o.first and o.last limit 20000
        ) m where o.shard = s.shard)::text as pending,
        ${schema}.outbox_is_behind(s.shard) or ${schema}.outbox_is_set_back(s.shard, 1) as is_set_back,
        s.incarnation, p.actor, p.reason, p.paused_at,
        (select count(*) from ${schema}.claim_member where scope = 'outbox' and lease_until > clock_timestamp())::text as relays,
        (select count(*) from ${schema}.parked_message where side = 'relay' and state = 'retrying')::text as retrying,
        (select count(*) from ${schema}.parked_message where side = 'relay' and state <> 'retrying')::text as parked
      from (
        select (n - 1)::smallint as shard, sequence, incarnation
        from ${schema}.outbox_setting, unnest(position_sequences) with ordinality as u (sequence, n)
      ) s
      left join lateral (
        select low, done from ${schema}.outbox_cursor where shard = s.shard order by epoch desc, n desc limit 1
      ) c on true
      left join ${schema}.claim k on k.scope = 'outbox' and k.slot = s.shard
      left join ${schema}.claim_member w
        on w.scope = k.scope and w.member_id = k.member_id and w.lease_until > clock_timestamp()
      left join ${schema}.outbox_pause p on true
      order by s.shard`,
    pause: `/* dure:admin.pause-relays */
      with paused as (
        insert into ${schema}.outbox_pause (actor, reason) values ($1, $2) on conflict do nothing returning actor
      )
      insert into ${schema}.audit_entry (actor, action, subject, reason)
      select $1, 'relay.pause', 'outbox', $2 from paused returning id`,
    resume: `/* dure:admin.resume-relays */
      with resumed as (
        delete from ${schema}.outbox_pause returning actor
      )
      insert into ${schema}.audit_entry (actor, action, subject, reason)
      select $1, 'relay.resume', 'outbox', $2 from resumed returning id`,
    rebase: `/* dure:admin.rebase */
      select shard, moved::text, incarnation from ${schema}.relay_rebase($1::smallint[], $2, $3)`,
    tableless: `/* dure:admin.tableless */ select tableless from ${schema}.outbox_setting`,
    republishLocks: [
      `/* dure:admin.republish-patience */ set local lock_timeout = '2s'`,
      // No relay can record progress, and no writer can write, until this is over.
      `/* dure:admin.republish-relays */ select pg_advisory_xact_lock(${schema}.claim_lock_key('outbox'))`,
      `/* dure:admin.republish-writers */ lock table ${schema}.outbox_message in share row exclusive mode`,
    ],
    // From the first event of the topic in its shard that is young enough, everything moves, what waits included:
    // else a later event of a key would go before an earlier one. Order by position is order by commit.
    republish: `/* dure:admin.republish */
      with raised as (
        update ${schema}.outbox_setting set incarnation = incarnation + 1
        returning position_sequences, incarnation
      ), shards as materialized (
        select (n - 1)::smallint as shard, sequence, r.incarnation, greatest(
          coalesce(c.low, 0), coalesce(upper(range_merge(c.done)) - 1, 0),
          coalesce(pg_sequence_last_value(sequence), 0), coalesce((
            select max(m.position) from ${schema}.outbox_message m where m.shard = n - 1
          ), 0)
        ) as base
        from raised r, unnest(r.position_sequences) with ordinality as u (sequence, n)
        left join lateral (
          select low, done from ${schema}.outbox_cursor k
          where k.shard = n - 1 order by epoch desc, k.n desc limit 1
        ) c on true
      ), numbered as materialized (
        select m.tableoid as part, m.ctid as place, m.shard,
          row_number() over (partition by m.shard order by m.position) as n
        from ${schema}.outbox_message m join (
          select f.shard, f.topic, min(f.position) as position from ${schema}.outbox_message f
          where f.written_at >= $2::text::timestamptz and ($1::text is null or f.topic = $1)
          group by f.shard, f.topic
        ) f on f.shard = m.shard and f.topic = m.topic and m.position >= f.position
      ), moved as (
        update ${schema}.outbox_message m set position = s.base + d.n
        from numbered d join shards s using (shard)
        where m.tableoid = d.part and m.ctid = d.place
        returning m.shard
      ), counted as (
        select shard, count(*) as moved from moved group by shard
      ), audit as (
        insert into ${schema}.audit_entry (actor, action, subject, reason)
        values ($3, 'relay.republish', 'outbox/' || coalesce($1, '*') || ' since ' || $2::text, $4)
      )
      select s.shard, c.moved::text, s.incarnation, setval(s.sequence, s.base + c.moved)
      from shards s join counted c using (shard) order by s.shard`,
  };
}

/** The ranges of positions of each shard that are not done, as a query. `schema` is quoted. */
export function openRanges(schema: string): string {
  return `select s.shard, r.first, r.last
        from (
          select generate_series(0, shard_count - 1)::smallint as shard from ${schema}.outbox_setting
        ) s
        left join lateral (
          select low, done from ${schema}.outbox_cursor
          where shard = s.shard order by epoch desc, n desc limit 1
        ) c on true
        cross join lateral ${schema}.outbox_open_ranges(c.low, c.done) r`;
}
