/** The statements of {@link postgresSagaStore}. */
export interface SagaSql {
  readonly join: string;
  readonly beat: string;
  readonly overdue: string;
  readonly fence: string;
  readonly free: string;
  readonly record: string;
  readonly recordSoon: string;
  readonly recordLocal: string;
  readonly recordAll: string;
  readonly boundLockWait: string;
  readonly claim: string;
  readonly owned: string;
  readonly leftBehind: string;
  readonly signals: string;
  readonly signalsOf: string;
  readonly instances: string;
  readonly journals: string;
  readonly start: string;
  readonly signal: string;
  readonly outcomes: string;
}

const now = "(extract(epoch from clock_timestamp()) * 1000)::bigint as now";

/** `schema` is quoted. */
export function sagaSql(schema: string): SagaSql {
  return {
    join: `/* dure:saga.join */ select ${schema}.saga_join($1) as process, ${now}`,
    beat: `/* dure:saga.beat */ select ${schema}.saga_beat($1, $2) as is_held, ${now}`,
    overdue: `/* dure:saga.overdue */
      select process from ${schema}.saga_process
      where fenced_at is not null or lease_until <= clock_timestamp() order by process`,
    fence: `/* dure:saga.fence */ select ${schema}.saga_fence($1, $2)`,
    free: `/* dure:saga.free */ select ${schema}.saga_free($1) as freed`,
    record: `/* dure:saga.record */
      select ${schema}.saga_record($1, $2, $3, $4, $5::integer[], $6, $7, $8, $9, $10::bigint[], $11::bigint[]) as refused`,
    recordSoon: `/* dure:saga.record-soon */
      select ${schema}.saga_record_soon($1, $2, $3, $4, $5::integer[], $6, $7, $8, $9, $10::bigint[], $11::bigint[]) as refused`,
    recordLocal: `/* dure:saga.record-local */
      select ${schema}.saga_record_local($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::bigint[])`,
    recordAll: `/* dure:saga.record-all */
      select ${schema}.saga_record_all($1, $2, $3, $4, $5::integer[], $6, $7, $8, $9, $10::bigint[], $11::bigint[])`,
    boundLockWait: `/* dure:saga.bound-lock-wait */ select set_config('lock_timeout', $1, true)`,
    claim: `/* dure:saga.claim */ select ${schema}.saga_claim($1, $2::text[], $3::integer[], $4::integer[]) as saga_id`,
    leftBehind: `/* dure:saga.left-behind */
      select definition, version, count(*)::integer as count from (
        select definition, version, saga_id from ${schema}.saga_live
        where process is null and wake_at < statement_timestamp() - interval '1 minute'
        union
        select l.definition, l.version, l.saga_id
        from ${schema}.saga_signal s join ${schema}.saga_live l on l.saga_id = s.saga_id
        where s.sent_at < statement_timestamp() - interval '1 minute' and l.process is null
      ) l group by definition, version`,
    owned: `/* dure:saga.owned */ select saga_id from ${schema}.saga_live where process = $1`,
    signals: `/* dure:saga.signals */
      select s.signal_id, s.saga_id, s.body from ${schema}.saga_signal s
      join ${schema}.saga_live l on l.saga_id = s.saga_id and l.process = $1
      order by s.signal_id limit $2`,
    signalsOf: `/* dure:saga.read-signals */
      select signal_id, saga_id, body from ${schema}.saga_signal
      where saga_id = any ($1::text[]) order by signal_id`,
    instances: `/* dure:saga.instances */
      select i.saga_id, i.definition, i.version, i.status, i.business_key, i.input, i.traceparent,
        i.started_at::text, i.ended_at::text, l.process,
        (extract(epoch from l.deadline_at) * 1000)::bigint as deadline_at
      from ${schema}.saga_instance i
      left join ${schema}.saga_live l on l.saga_id = i.saga_id
      where i.saga_id = any ($1::text[])`,
    journals: `/* dure:saga.journals */
      select saga_id, events from ${schema}.saga_journal where saga_id = any ($1::text[]) order by saga_id, n`,
    start: `/* dure:saga.start */
      select definition, version, input from ${schema}.saga_start($1, $2, $3, $4, $5, $6, $7)`,
    signal: `/* dure:saga.signal */ select ${schema}.saga_signal_send($1, $2, $3) as is_taken`,
    outcomes: `/* dure:saga.outcomes */
      select i.saga_id, i.status, j.events
      from ${schema}.saga_instance i
      left join lateral (
        select events from ${schema}.saga_journal where saga_id = i.saga_id order by n desc limit 1
      ) j on true
      where i.saga_id = any ($1::text[])`,
  };
}
