/** The statements of keyed requests. */
export interface IdempotencySql {
  readonly claim: string;
  readonly savepoint: string;
  readonly undo: string;
  readonly keep: string;
}

/** Where a refusal goes back to. */
const savepoint = "dure_key";

/** `schema` is quoted. */
export function idempotencySql(schema: string): IdempotencySql {
  return {
    // The locks are taken before the savepoint: going back to it keeps them.
    claim: `/* dure:idempotency.claim */
      select ${schema}.idempotency_claim($1, $2, $3, $4, $5)::text as claim`,
    savepoint: `/* dure:idempotency.savepoint */ savepoint ${savepoint}`,
    undo: `/* dure:idempotency.undo */ rollback to savepoint ${savepoint}`,
    keep: `/* dure:idempotency.keep */
      select ${schema}.idempotency_keep($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
  };
}
