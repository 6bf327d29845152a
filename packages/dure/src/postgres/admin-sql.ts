import { openRanges } from "./relay-admin-sql.ts";

/** The statements behind what an operator may see and do. */
export interface AdminSql {
  readonly status: string;
  readonly oldestPending: string;
  readonly deadLetters: string;
  readonly redrive: string;
  readonly discard: string;
}

const filter = `state = 'dead'
  and ($1::bigint is null or id = $1) and ($2::text is null or side = $2) and ($3::text is null or consumer = $3)
  and ($4::text is null or topic = $4) and ($5::text is null or key = $5) and ($6::text is null or type = $6)`;

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
        (select count(*) from ${schema}.saga_live)::text as sagas,
        (select count(*) from ${schema}.saga_parked)::text as parked_sagas,
        -- All that is parked but the dead letters, from two small indexes instead of the table with its payloads.
        (select (select count(*) from ${schema}.parked_message where blocks_key)
          + (select count(*) from ${schema}.parked_message where state = 'retrying' and not blocks_key)
          - (select count(*) from ${schema}.parked_message where state = 'dead' and blocks_key))::text as waiting,
        -- What blocks a key and is not held behind another is the first of its key.
        (select count(*) from ${schema}.parked_message where blocks_key and state <> 'held')::text as keys,
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
    deadLetters: `/* dure:admin.dead-letters */
      select p.id::text, p.side, p.consumer, p.topic, p.key, p.message_id, p.type, p.attempts, p.error_code,
        p.last_error, p.first_failed_at, p.last_failed_at, p.message ->> 'traceparent' as traceparent,
        (select count(*) from ${schema}.parked_message h
          where h.side = p.side and h.consumer = p.consumer and h.topic = p.topic and h.key = p.key
            and h.blocks_key and h.state = 'held')::text as held
      from ${schema}.parked_message p
      where p.id in (select id from ${schema}.parked_message where ${filter} order by id limit $7)
      order by p.id`,
    redrive: `/* dure:admin.redrive */
      with redriven as (
        update ${schema}.parked_message set state = 'retrying', attempts = 0, next_attempt_at = clock_timestamp(),
          message = message || '{"redriven": true}'
        where id in (select id from ${schema}.parked_message where ${filter} order by id limit $7) and state = 'dead'
        returning id, consumer, message_id
      )
      insert into ${schema}.audit_entry (actor, action, subject, reason)
      select $8, 'dead-letter.redrive', consumer || '/' || message_id, $9 from redriven order by id returning id`,
    discard: `/* dure:admin.discard */
      with picked as materialized (
        select p.id, p.consumer, p.message_id from (
          select * from ${schema}.parked_message where ${filter} order by id limit $7
        ) p
        -- The order in which all who take several of these locks take them.
        order by ${schema}.parked_lock_key(p.side, p.consumer, p.shard, p.topic, p.key), p.id
      ), discarded as materialized (
        select id, consumer, message_id, ${schema}.parked_discard(id) as is_gone from picked
      )
      insert into ${schema}.audit_entry (actor, action, subject, reason)
      select $8, 'dead-letter.discard', consumer || '/' || message_id, $9 from discarded where is_gone returning id`,
  };
}
