/** The statements of the inbox's and the parked messages' stores. */
export interface InboxSql {
  readonly receive: string;
  readonly beginBatch: string;
  readonly beginAttempt: string;
  readonly endAttempts: string;
  readonly park: string;
  readonly due: string;
  readonly take: string;
  readonly behind: string;
  readonly resolve: string;
  readonly fail: string;
}

/** `schema` is quoted. */
export function inboxSql(schema: string): InboxSql {
  const columns = "id::text, message::text, attempts, shard";
  return {
    receive: `/* dure:inbox.receive */ select seen, parked, unknown, tombstoned from ${schema}.inbox_receive($1, $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[])`,
    beginBatch: `/* dure:inbox.begin-batch */
      with begun_before as (
        select from ${schema}.inbox_attempt where consumer = $1 and message_id = any ($2::text[]) limit 1
      ), begun as (
        insert into ${schema}.inbox_attempt (consumer, message_id, started)
        select $1, i, 1 from unnest($2::text[]) i where not exists (select from begun_before) order by i
        on conflict do nothing
      )
      select not exists (select from begun_before) as is_begun`,
    beginAttempt: `/* dure:inbox.begin-attempt */
      insert into ${schema}.inbox_attempt as a (consumer, message_id, started) values ($1, $2, 1)
      on conflict (consumer, message_id) do update set started = a.started + 1, started_at = clock_timestamp()
      returning started`,
    endAttempts: `/* dure:inbox.end-attempts */ delete from ${schema}.inbox_attempt where consumer = $1 and message_id = any ($2::text[])`,
    park: `/* dure:parked.park */ select ${schema}.park_all($1, $2::text::jsonb)`,
    due: `/* dure:parked.due */
      select ${columns} from ${schema}.parked_message
      where side = $1 and consumer = $2 and state = 'retrying' and next_attempt_at <= clock_timestamp()
      order by next_attempt_at limit $3`,
    // Skips what another member is trying: it will have resolved it, or made it due again. By the id and not by
    // the index of what is being retried, of which old statistics may say that it is empty.
    take: `/* dure:parked.take */
      select ${columns} from ${schema}.parked_message
      where id = $1 and state || '' = 'retrying' and next_attempt_at <= clock_timestamp()
      for update skip locked`,
    behind: `/* dure:parked.behind */
      select h.id::text, h.message::text, h.attempts, h.shard
      from ${schema}.parked_message p
      cross join lateral (
        select * from ${schema}.parked_message m
        where m.side = p.side and m.consumer = p.consumer and m.topic = p.topic and m.key = p.key
          and m.blocks_key and m.id > p.id
        order by m.id limit $2
      ) h
      where p.id = $1 and p.blocks_key and p.first_failed_at is null and h.state = 'held'
      order by h.id`,
    resolve: `/* dure:parked.resolve */ select ${schema}.parked_resolve_all($1::bigint[])`,
    fail: `/* dure:parked.fail */ select ${schema}.parked_fail($1, $2::text::jsonb, $3)`,
  };
}
