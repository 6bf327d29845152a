import { quoteIdentifier } from "./pool.ts";

/** The names of a user's table, each quoted. */
export interface GuardedTableNames {
  /** With its schema, where one is given. */
  readonly table: string;
  readonly id: string;
  readonly status: string;
  readonly version: string | undefined;
}

/** The statements on a user's table. Column names are the caller's constants, checked against those of construction. */
export interface GuardedTableSql {
  /** `$1` the id, then the columns, the state to go to, the states from which (JSON), the version or null. */
  transition(set: readonly string[]): string;
  /** `$1` the id, then the columns, the version. */
  updateVersioned(set: readonly string[]): string;
  /** Nothing is found when it is not there, or when another transaction has it. */
  lockFree: string;
  exists: string;
  /** False when the time is over: `$1` the id, `$2` milliseconds. */
  waitForRow: string;
  lock: string;
  /** `$1` … the values of before, then the id; the answers are `changed_1` …, beside the row. */
  compare(before: readonly string[]): string;
  assertTransaction: string;
}

/** `columns` and `schema` (of the library) are not quoted yet, `names` are. */
export function guardedTableSql(
  names: GuardedTableNames,
  { columns, schema }: { readonly columns: readonly string[]; readonly schema: string },
): GuardedTableSql {
  const { table, id, status, version } = names;
  const list = columns.map(quoteIdentifier).join(", ");
  const assignments = (set: readonly string[], firstParam: number): readonly string[] => [
    ...set.map((column, index) => `${quoteIdentifier(column)} = $${firstParam + index}`),
    ...(version === undefined ? [] : [`${version} = t.${version} + 1`]),
  ];
  const versionText = (of: string): string =>
    version === undefined ? "null::text" : `${of}.${version}`;
  return {
    // The row is locked as it is now, then changed or not: the answer is of one moment. `no key`: rows that only
    // refer to it need not wait.
    transition: (set) => `/* dure:isolation.transition */
      with found as materialized (
        select t.${id} as id, t.${status}::text as status, ${versionText("t")}::text as version
        from ${table} t where t.${id} = $1 for no key update
      ), moved as (
        update ${table} t set ${[...assignments(set, 2), `${status} = $${set.length + 2}`].join(", ")}
        from found f
        where t.${id} = f.id
          and f.status in (select jsonb_array_elements_text($${set.length + 3}::text::jsonb))
          and f.version is not distinct from coalesce($${set.length + 4}::text, f.version)
        returning ${versionText("t")}::text as version
      )
      select f.status, f.version, m.version as new_version, exists (select from moved) as is_moved
      from found f left join moved m on true`,
    updateVersioned: (set) => `/* dure:isolation.update */
      with found as materialized (
        select t.${id} as id, ${versionText("t")}::text as version
        from ${table} t where t.${id} = $1 for no key update
      ), moved as (
        update ${table} t set ${assignments(set, 2).join(", ")}
        from found f where t.${id} = f.id and f.version = $${set.length + 2}::text
        returning ${versionText("t")}::text as version
      )
      select f.version, m.version as new_version, exists (select from moved) as is_moved
      from found f left join moved m on true`,
    lockFree: `/* dure:isolation.lock-free */ select ${list} from ${table} where ${id} = $1 for update skip locked`,
    exists: `/* dure:isolation.exists */ select from ${table} where ${id} = $1`,
    waitForRow: `/* dure:isolation.wait-for-row */
      select ${schema}.row_lock($1, $2, $3, $4) as is_locked`,
    lock: `/* dure:isolation.lock */ select ${list} from ${table} where ${id} = $1 for update`,
    compare: (before) => `/* dure:isolation.compare */
      select ${before
        .map((name, n) => `${quoteIdentifier(name)} is distinct from $${n + 1} as changed_${n + 1}`)
        .join(", ")}
      from ${table} where ${id} = $${before.length + 1}`,
    assertTransaction: `/* dure:isolation.assert-row-transaction */ lock table ${table} in access share mode`,
  };
}
