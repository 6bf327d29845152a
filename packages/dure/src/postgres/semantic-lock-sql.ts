/** The statements of semantic locks. */
export interface SemanticLockSql {
  readonly acquire: string;
  readonly change: string;
  readonly read: string;
  readonly sweep: string;
  /** Fails with SQLSTATE 25P01 outside a transaction. */
  readonly assertTransaction: string;
}

/** `schema` is quoted. */
export function semanticLockSql(schema: string): SemanticLockSql {
  return {
    acquire: `/* dure:isolation.acquire */
      select ${schema}.semantic_lock_acquire($1, $2, $3, $4, $5)::text as answer`,
    change: `/* dure:isolation.change */
      select ${schema}.semantic_lock_change($1, $2, $3, $4, $5, $6, $7)::text as answer`,
    read: `/* dure:isolation.read */
      select ${schema}.semantic_lock_json(l)::text as answer
      from ${schema}.semantic_lock l where l.resource = $1 and l.owner is not null`,
    // The statement's time and not the clock's: an index can be asked for it. A row that was renewed meanwhile is
    // looked at again when it is locked, and left alone.
    sweep: `/* dure:isolation.sweep */
      with expired as (
        select l as lock, l.resource, l.expires_at from ${schema}.semantic_lock l
        where l.expires_at <= statement_timestamp()
        order by l.expires_at limit $1 for update skip locked
      ), swept as (
        update ${schema}.semantic_lock l
        set state = 'AVAILABLE', owner = null, acquired_at = null, expires_at = null
        from expired e where l.resource = e.resource
      )
      select ${schema}.semantic_lock_json(e.lock)::text as answer from expired e order by e.expires_at`,
    assertTransaction: `/* dure:isolation.assert-transaction */ lock table ${schema}.semantic_lock in access share mode`,
  };
}
