/** The statements behind what an operator may see and do. */
export interface AdminSql {
  readonly status: string;
  readonly oldestPending: string;
  readonly relayStatus: string;
  readonly pause: string;
  readonly resume: string;
  readonly rebase: string;
  readonly deadLetters: string;
  readonly redrive: string;
  readonly discard: string;
}

const filter = `state = 'dead'
  and ($1::bigint is null or id = $1) and ($2::text is null or side = $2) and ($3::text is null or consumer = $3)
  and ($4::text is null or topic = $4) and ($5::text is null or key = $5) and ($6::text is null or type = $6)`;

/** The ranges of positions of each shard that are not done. */
function openRanges(schema: string): string {
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

/** `schema` is quoted. */
export function adminSql(schema: string): AdminSql {
  return {
    // Only the ranges that are not done: finished partitions are not looked at, nor what is done above a gap.
    status: `/* dure:admin.status */
      with open as materialized (
        ${openRanges(schema)}
      ), pending as (
        select from open o cross join lateral (
          select from ${schema}.outbox_message m
          where m.shard = o.shard and m.position between o.first and o.last limit 100000
        ) m limit 100000
      ), oldest as (
        select m.written_at from open o cross join lateral (
          select m.written_at from ${schema}.outbox_message m
          where m.shard = o.shard and m.position between o.first and o.last order by m.position limit 1
        ) m
      )
      select (select count(*) from pending)::text as pending,
        coalesce((select extract(epoch from clock_timestamp() - min(written_at)) from oldest), 0)::float8 as oldest,
        (select count(*) from ${schema}.parked_message where state = 'dead')::text as dead,
        (select count(*) from ${schema}.parked_message where state <> 'dead')::text as waiting,
        (select count(distinct (side, consumer, topic, key)) from ${schema}.parked_message where blocks_key)::text as keys,
        (select count(*) from ${schema}.claim_member where scope = 'outbox' and lease_until > clock_timestamp())::text as relays,
        exists (select from ${schema}.outbox_pause) as is_paused,
        (select coalesce(sum(pg_total_relation_size(inhrelid)), 0) from pg_inherits
          where inhparent = '${schema}.outbox_message'::regclass)::text as bytes`,
    oldestPending: `/* dure:admin.oldest-pending */
      with open as materialized (
        ${openRanges(schema)}
      )
      select m.id, m.topic, m.type, o.shard,
        extract(epoch from clock_timestamp() - m.written_at)::float8 as seconds
      from open o cross join lateral (
        select m.id, m.topic, m.type, m.written_at from ${schema}.outbox_message m
        where m.shard = o.shard and m.position between o.first and o.last order by m.position limit 1
      ) m
      order by m.written_at limit 1`,
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
    deadLetters: `/* dure:admin.dead-letters */
      select p.id::text, p.side, p.consumer, p.topic, p.key, p.message_id, p.type, p.attempts, p.error_code,
        p.last_error, p.first_failed_at, p.last_failed_at, p.message ->> 'traceparent' as traceparent,
        (select count(*) from ${schema}.parked_message h
          where h.side = p.side and h.consumer = p.consumer and h.topic = p.topic and h.key = p.key
            and h.state = 'held')::text as held
      from ${schema}.parked_message p
      where p.id in (select id from ${schema}.parked_message where ${filter} order by id limit $7)
      order by p.id`,
    redrive: `/* dure:admin.redrive */
      with redriven as (
        update ${schema}.parked_message set state = 'retrying', attempts = 0, next_attempt_at = clock_timestamp()
        where id in (select id from ${schema}.parked_message where ${filter} order by id limit $7) and state = 'dead'
        returning id, consumer, message_id
      )
      insert into ${schema}.audit_entry (actor, action, subject, reason)
      select $8, 'dead-letter.redrive', consumer || '/' || message_id, $9 from redriven order by id returning id`,
    discard: `/* dure:admin.discard */
      with picked as materialized (
        select id, consumer, message_id from ${schema}.parked_message where ${filter} order by id limit $7
      ), discarded as materialized (
        select id, consumer, message_id, ${schema}.parked_resolve(id) as is_gone from picked
      )
      insert into ${schema}.audit_entry (actor, action, subject, reason)
      select $8, 'dead-letter.discard', consumer || '/' || message_id, $9 from discarded where is_gone returning id`,
  };
}
