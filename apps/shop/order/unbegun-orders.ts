import type { SagaOutcome } from "dure";
import type { Pool } from "pg";
import { sweepAsLeader } from "../chassis/leader-sweep.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import * as sql from "./checkout-sql.ts";
import { cancelReasonOf } from "./domain.ts";
import { lockKnownOrder, moveOrder } from "./order-moves.ts";

/** What looking after them needs. */
export interface UnbegunOptions {
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly everyMs: number;
}

/** An order whose saga has not taken it up. */
interface UnbegunRow {
  readonly id: string;
  readonly saga_id: string;
}

const batchSizeMax = 200;
/** Of a saga that goes on nothing is heard in that time. */
const answerWithinMs = 200;

/**
 * Cancels orders whose saga has ended before its first step, until the signal ends it: a saga that was
 * canceled that early has nothing to compensate, so none of its steps could tell the order. One instance
 * does it at a time. Never rejects.
 */
export function cancelUnbegun(options: UnbegunOptions, signal: AbortSignal): Promise<void> {
  const { pool, dure, everyMs } = options;
  return sweepAsLeader(
    { dure, name: "order.unbegun", everyMs },
    async () => {
      const { rows } = await pool.query<UnbegunRow>(sql.listUnbegun, [everyMs, batchSizeMax]);
      await Promise.all(rows.map((row) => cancelIfEnded(options, row)));
    },
    signal,
  );
}

async function cancelIfEnded(
  { dure }: UnbegunOptions,
  { id, saga_id: sagaId }: UnbegunRow,
): Promise<void> {
  const outcome = await outcomeOf(dure, sagaId);
  if (outcome?.kind !== "compensated") return;
  const reason = cancelReasonOf(outcome.reason);
  await dure.transaction(
    async (tx) => {
      const order = await lockKnownOrder(tx, id);
      if (order.status !== "PENDING") return;
      await moveOrder(tx, order, { path: ["CANCELING", "CANCELED"], reason });
    },
    { context: { correlationId: sagaId } },
  );
}

async function outcomeOf(dure: ServiceDure, sagaId: string): Promise<SagaOutcome | undefined> {
  const waiting = AbortSignal.timeout(answerWithinMs);
  try {
    return await dure.sagas.outcome(sagaId, { signal: waiting });
  } catch (error) {
    if (waiting.aborted) return undefined;
    throw error;
  }
}
