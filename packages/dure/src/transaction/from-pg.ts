import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** A `pg` client by its shape: one connection. A pool is none, and its type says so. */
export interface PgTransactionClient {
  query(
    text: string,
    params?: readonly unknown[],
  ): Promise<{
    readonly rows: readonly Record<string, unknown>[];
    readonly rowCount?: number | null;
  }>;
  /** What only a pool has. */
  readonly totalCount?: never;
}

/**
 * The transaction that is open on a `pg` client (`pool.connect()`, then `begin`; or a `Client` of your
 * own). The handle is good until COMMIT or ROLLBACK, which stay yours. A client that is not inside a
 * transaction is refused by the database (NOT_IN_TRANSACTION), and nothing is written.
 *
 * @throws CONFIGURATION_INVALID for a pool: each of its queries may run on another connection
 */
export function fromPg(client: PgTransactionClient): TransactionHandle {
  // JavaScript callers and casts come here too, whatever the type says.
  const given: { readonly query?: unknown; readonly totalCount?: unknown } | null | undefined =
    client;
  if (typeof given?.query !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromPg: this is no pg client; pass the client on which you ran BEGIN",
    );
  }
  if (given.totalCount !== undefined) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromPg: this is a pool, whose queries run on any connection; pass the client on which you ran BEGIN (const client = await pool.connect())",
    );
  }
  return { query: (text, params) => client.query(text, params) };
}
