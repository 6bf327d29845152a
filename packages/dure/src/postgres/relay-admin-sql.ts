/** The statements behind what an operator may see of the relays, and do with them. */
export interface RelayAdminSql {
  readonly relayStatus: string;
  readonly pause: string;
  readonly resume: string;
  readonly rebase: string;
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
