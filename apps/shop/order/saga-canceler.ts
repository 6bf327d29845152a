import { postgresStore } from "dure/postgres";
import type { Pool, PoolClient } from "pg";
import type { CancelReason } from "../contracts/http/orders.ts";
import type { OrderTransaction } from "./order-moves.ts";

/** Who cancels, and why: the reason is what the saga is compensated for. */
export interface SagaCancellation {
  readonly actor: string;
  readonly reason: CancelReason;
}

/**
 * Tells a saga to turn back, if and only if the transaction commits. Past its pivot, and at its end, it
 * does not listen. As `dure.sagas.cancel`, but that reads the journal on a second connection while this
 * one is held: so many requests at once as the pool has connections could wait for each other.
 */
export function createSagaCanceler(
  pool: Pool,
): (tx: OrderTransaction, sagaId: string, cancellation: SagaCancellation) => Promise<void> {
  const { sagas } = postgresStore<PoolClient>({ pool });
  return async (tx, sagaId, { actor, reason }) => {
    const body = { kind: "command", command: "cancel", actor, why: reason };
    await sagas.signal(tx, sagaId, { dedupKey: "cancel", body });
  };
}
