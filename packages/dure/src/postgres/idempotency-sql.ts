/** The statements of keyed requests. */
export interface IdempotencySql {
  readonly look: string;
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
    look: `/* dure:idempotency.look */
      select case when r.fingerprint = $2 then
        json_build_array('replayed', r.status, r.headers, encode(r.body, 'base64'))::text
        else '["mismatch"]' end as claim
      from ${schema}.idempotency_record r
      where r.id = $1 and r.expires_at > clock_timestamp()`,
    // The locks are taken before the savepoint: going back to it keeps them.
    claim: `/* dure:idempotency.claim */
      select ${schema}.idempotency_claim($1, $2, $3, $4, $5)::text as claim`,
    savepoint: `/* dure:idempotency.savepoint */ savepoint ${savepoint}`,
    undo: `/* dure:idempotency.undo */ rollback to savepoint ${savepoint}`,
    keep: `/* dure:idempotency.keep */
      select ${schema}.idempotency_keep($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
  };
}
