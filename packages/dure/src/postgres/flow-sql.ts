/** The statements of {@link postgresFlowStore}. */
export interface FlowSql {
  readonly open: string;
  readonly record: string;
  readonly overdue: string;
  readonly resolve: string;
  readonly forgetEarly: string;
}

/** `schema` is quoted. */
export function flowSql(schema: string): FlowSql {
  return {
    open: `/* dure:flow.open */
      select definition, saga_id, known_as, version, status, journal, early
      from ${schema}.flow_open($1::text[], $2::text[])`,
    record: `/* dure:flow.record */ select ${schema}.flow_record($1, $2)`,
    overdue: `/* dure:flow.overdue */
      select saga_id, definition, version, business_key, status, services,
        to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since
      from ${schema}.flow_overdue($1)`,
    resolve: `/* dure:flow.resolve */
      select saga_id, definition, version, status, actor, why from ${schema}.flow_resolve($1)`,
    forgetEarly: `/* dure:flow.forget-early */ select ${schema}.flow_forget_early($1, $2) as count`,
  };
}
