/** The statements behind what an operator may see of sagas, and do to them. */
export interface SagaAdminSql {
  readonly instances: string;
  readonly journals: string;
  readonly list: string;
  readonly timers: string;
  readonly live: string;
  readonly command: string;
  readonly moveDeadline: string;
  readonly deadLetters: string;
  readonly redrive: string;
}

/** With microseconds: it is also the place of a page. */
const utc = (column: string): string =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** `schema` is quoted. */
export function sagaAdminSql(schema: string): SagaAdminSql {
  return {
    instances: `/* dure:saga-admin.instances */
      select i.saga_id, i.definition, i.version, i.status, i.business_key, i.input, i.traceparent,
        ${utc("i.started_at")} as started_at, ${utc("i.ended_at")} as ended_at, l.process,
        ${utc("l.wake_at")} as wake_at, (extract(epoch from l.deadline_at) * 1000)::bigint as deadline_at
      from ${schema}.saga_instance i
      left join ${schema}.saga_live l on l.saga_id = i.saga_id
      where i.saga_id = any ($1::text[]) order by i.saga_id`,
    journals: `/* dure:saga-admin.journals */
      select saga_id, events, process, ${utc("recorded_at")} as recorded_at from ${schema}.saga_journal
      where saga_id = any ($1::text[]) order by saga_id, n`,
    list: `/* dure:saga-admin.list */
      select saga_id, definition, version, business_key, status, ${utc("started_at")} as started_at, ${utc("ended_at")} as ended_at
      from ${schema}.saga_list($1, $2, $3, $4::timestamptz, $5, $6) as s`,
    timers: `/* dure:saga-admin.timers */
      select l.saga_id, l.definition, l.version, i.business_key, i.status, ${utc("l.wake_at")} as wake_at,
        ${utc("l.deadline_at")} as deadline_at
      from ${schema}.saga_live l join ${schema}.saga_instance i on i.saga_id = l.saga_id
      where l.process is null and l.wake_at is not null and ($1::text is null or l.definition = $1)
      order by l.wake_at, l.saga_id limit $2`,
    live: `/* dure:saga-admin.live */
      select saga_id from ${schema}.saga_live where saga_id > coalesce($2, '') order by saga_id limit $1`,
    command: `/* dure:saga-admin.command */
      select ${schema}.saga_command($1, $2, $3, $4, $5, $6, $7, $8) as outcome`,
    moveDeadline: `/* dure:saga-admin.move-deadline */
      select ${schema}.saga_move_deadline($1, $2::timestamptz, $3, $4) as outcome`,
    // The failed step's: since an operator last gave it all its attempts again.
    deadLetters: `/* dure:saga-admin.dead-letters */
      select p.*, e.code, e.error, e.step, e.attempts, e.first_failed_at, e.last_failed_at
      from (
        select * from ${schema}.saga_parked p
        where ($1::text is null or p.saga_id = $1) and ($2::text is null or p.definition = $2)
          and ($3::text is null or coalesce(p.business_key, p.saga_id) = $3) and ($4::text is null or p.status = $4)
        order by p.started_at, p.saga_id limit $5
      ) p
      cross join lateral (
        select l.event -> 'reason' ->> 'code' as code, l.event -> 'reason' ->> 'error' as error,
          l.event -> 'reason' ->> 'step' as step, l.recorded_at as last_failed_at, f.first_failed_at, f.attempts
        from (
          select n, event, recorded_at from ${schema}.saga_event
          where saga_id = p.saga_id and type = 'parked' order by n desc, at desc limit 1
        ) l
        cross join lateral (
          select min(recorded_at) filter (where type in ('failed', 'refused', 'undo-failed')) as first_failed_at,
            count(*) filter (where type = case p.status when 'FAILED' then 'begun' else 'undo-begun' end) as attempts
          from ${schema}.saga_event
          where saga_id = p.saga_id and step = l.event -> 'reason' ->> 'step'
        ) f
      ) e
      order by p.started_at, p.saga_id`,
    redrive: `/* dure:saga-admin.redrive */
      select ${schema}.saga_redrive($1, $2, $3, $4, $5, $6, $7) as count`,
  };
}
