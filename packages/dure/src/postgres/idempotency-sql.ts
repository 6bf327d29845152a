/** The statements of keyed requests. */
export interface IdempotencySql {
  readonly claim: (claim: ClaimNumbers) => string;
  readonly undo: string;
  readonly keep: string;
}

/** What a claim is about: nothing that came from outside, only digits that were made of it. */
export interface ClaimNumbers {
  /** 32 hexadecimal digits each. */
  readonly id: string;
  readonly fingerprint: string;
  readonly leaseMs: number;
}

/** Where a refusal goes back to. */
const savepoint = "dure_key";

/** `schema` is quoted. */
export function idempotencySql(schema: string): IdempotencySql {
  return {
    // Without parameters, because only such a text can travel together with BEGIN. The locks are taken before the
    // savepoint: going back to it keeps them.
    claim: ({ id, fingerprint, leaseMs }) => `/* dure:idempotency.claim */
      select ${schema}.idempotency_claim(
        '${digits(id)}', '${digits(fingerprint)}', ${lockOf(id)}, ${lockOf(mixed(id, fingerprint))}, ${whole(leaseMs)}
      )::text as claim; savepoint ${savepoint}`,
    undo: `/* dure:idempotency.undo */ rollback to savepoint ${savepoint}`,
    keep: `/* dure:idempotency.keep */
      select ${schema}.idempotency_keep($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
  };
}

/** The number of an advisory lock, as PostgreSQL reads it: 64 bits with a sign. */
function lockOf(id: string): string {
  return `${BigInt.asIntN(64, BigInt(`0x${digits(id).slice(0, 16)}`))}::bigint`;
}

/** One number of two: equal pairs, and as good as no others, give the same. */
function mixed(left: string, right: string): string {
  const bits = BigInt(`0x${digits(left)}`) * 31n + BigInt(`0x${digits(right)}`);
  return BigInt.asUintN(128, bits ^ (bits >> 61n))
    .toString(16)
    .padStart(32, "0");
}

function digits(text: string): string {
  if (/^[\da-f]{32}$/.test(text)) return text;
  throw new TypeError("an id or a fingerprint must be 32 hexadecimal digits");
}

function whole(value: number): string {
  if (Number.isSafeInteger(value) && value > 0) return String(value);
  throw new TypeError("leaseMs must be a whole number");
}
