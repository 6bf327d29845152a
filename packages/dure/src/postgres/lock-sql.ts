import { quoteIdentifier } from "./pool.ts";

/** The statements of lease locks and guarded writes. */
export interface LockSql {
  readonly acquire: string;
  readonly renew: string;
  readonly release: string;
  readonly commit: string;
  /** Which of these keys somebody waits for. */
  readonly wanted: string;
  readonly list: string;
  readonly forceRelease: string;
  readonly guard: string;
  /** Fails with SQLSTATE 25P01 outside a transaction. */
  readonly assertTransaction: string;
}

/** `schema` is quoted. */
export function lockSql(schema: string): LockSql {
  return {
    acquire: `/* dure:lock.acquire */
      select token::text, remaining_ms::text from ${schema}.lock_acquire($1, $2, $3, $4, $5)`,
    // Where the row waits for a rival that changes nothing, the lease may have ended meanwhile: nobody has taken it.
    renew: `/* dure:lock.renew */
      update ${schema}.lock_lease l set expires_at = clock_timestamp() + $3::integer * interval '1 ms'
      where l.key = $1 and l.holder = $2 and l.expires_at > clock_timestamp()`,
    release: `/* dure:lock.release */ select ${schema}.lock_release($1, $2, $3) as is_released`,
    commit: `/* dure:lock.commit */ select ${schema}.lock_commit($1, $2)`,
    wanted: `/* dure:lock.wanted */
      select l.key from ${schema}.lock_lease l
      where l.key = any ($1::text[]) and l.wanted_until > clock_timestamp()`,
    list: `/* dure:lock.list */
      select l.key, l.holder, l.token::text, l.label,
        to_char(l.acquired_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as acquired_at,
        ceil(extract(epoch from l.expires_at - clock_timestamp()) * 1000)::text as remaining_ms
      from ${schema}.lock_lease l
      where l.holder is not null and l.expires_at > clock_timestamp() and starts_with(l.key, $1)
      order by l.key limit $2`,
    forceRelease: `/* dure:lock.force-release */
      select ${schema}.lock_force_release($1, $2, $3) as is_released`,
    guard: `/* dure:lock.guard */ select ${schema}.lock_guard_write($1, $2, $3)`,
    assertTransaction: `/* dure:lock.assert-transaction */ lock table ${schema}.lock_guard in access share mode`,
  };
}

/** The names of a user's table, each quoted. */
export interface FencedTableNames {
  /** With its schema, where one is given. */
  readonly table: string;
  readonly id: string;
  readonly token: string;
  readonly holder: string | undefined;
}

/** `$1` the token, `$2` the holder, `$3` the id, then the columns. No row: not found. */
export function fencedTableSql(names: FencedTableNames): (columns: readonly string[]) => string {
  const { table, id, token, holder } = names;
  const foundHolder = holder === undefined ? "null::text" : `t.${holder}::text`;
  const isSame = holder === undefined ? "true" : "f.holder is not distinct from c.holder";
  return (columns) => {
    const set = [
      `${token} = c.token`,
      ...(holder === undefined ? [] : [`${holder} = c.holder`]),
      ...columns.map((column, index) => `${quoteIdentifier(column)} = $${index + 4}`),
    ];
    // The row is locked as it is now, then written or not: the answer is of one moment.
    return `/* dure:lock.fenced-update */
      with claim as (
        select $1::bigint as token, $2::text as holder
      ), found as materialized (
        select t.${id} as id, t.${token} as token, ${foundHolder} as holder
        from ${table} t where t.${id} = $3 for no key update
      ), written as (
        update ${table} t set ${set.join(", ")}
        from found f, claim c
        where t.${id} = f.id
          and (f.token is null or f.token < c.token or (f.token = c.token and ${isSame}))
        returning true
      )
      select f.token::text as token, exists (select from written) as is_written from found f`;
  };
}

/**
 * Ends the transaction that has just begun after so many milliseconds. PostgreSQL 17 and later know the setting; it
 * is asked for by name only there.
 */
export function limitTime(ms: number): string {
  return `select set_config('transaction_timeout', '${ms}', true) where current_setting('server_version_num')::integer >= 170000`;
}
