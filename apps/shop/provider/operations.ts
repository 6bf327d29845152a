import type { Pool, PoolClient } from "pg";
import type {
  DeclineReason,
  OperationOutcome,
  ProviderAnswer,
  ProviderOperation,
} from "../contracts/http/provider.ts";
import { ProblemError } from "../chassis/problem.ts";
import { inTransaction } from "../chassis/transaction.ts";
import { decide } from "./domain.ts";
import type { Decision, OperationHistory, OperationRequest, RecordedOperation } from "./domain.ts";
import * as sql from "./operation-sql.ts";

/** The answer, and whether an earlier request with the key had it already. */
export interface OperationResult {
  readonly answer: ProviderAnswer;
  readonly isReplayed: boolean;
}

/** The provider's book of operations. */
export interface Operations {
  /**
   * Does what is asked, once per key. Effect, answer and ledger entry commit together: if the
   * process dies before, nothing happened; if it dies after, a repeated key brings the answer.
   *
   * @throws ProblemError IDEMPOTENCY_KEY_REUSED, STEP_COMPENSATED, VERSION_CONFLICT,
   *   AMOUNT_TOO_LARGE, NOT_FOUND, VALIDATION_FAILED; nothing is kept then
   */
  execute(request: OperationRequest): Promise<OperationResult>;
  /** What is known about a key. */
  outcomeOf(key: string): Promise<OperationOutcome>;
}

/** Operations over the provider's own database. */
export function createOperations(pool: Pool, newTransactionId: () => string): Operations {
  return {
    execute: (request) =>
      inTransaction(pool, async (client) => {
        await lockKeys(client, request);
        const decision = decide(request, await historyOf(client, request));
        return carryOut(client, request, decision, newTransactionId);
      }),
    async outcomeOf(key) {
      const { recorded, isCompensated } = await readKey(pool, key);
      const happened =
        recorded === undefined ? {} : { operation: recorded.kind, answer: recorded.answer };
      if (isCompensated) return { key, state: "compensated", ...happened };
      return { key, state: recorded === undefined ? "unknown" : "known", ...happened };
    },
  };
}

/**
 * Both keys, always in the same order, so that an operation and its compensation cannot wait for
 * each other. The locks are statements of their own: what they waited for is visible to the next.
 */
async function lockKeys(client: PoolClient, { key, forwardKey }: OperationRequest): Promise<void> {
  const keys = [...new Set([key, forwardKey ?? key])].sort();
  for (const each of keys) await client.query(sql.lockKey, [each]);
}

async function historyOf(client: PoolClient, request: OperationRequest): Promise<OperationHistory> {
  const own = await readKey(client, request.key);
  const forward =
    request.forwardKey === undefined ? undefined : await readKey(client, request.forwardKey);
  return {
    own: own.recorded,
    isOwnCompensated: own.isCompensated,
    forward: forward?.recorded,
    isForwardCompensated: forward?.isCompensated ?? false,
    captured: forward?.captured ?? 0,
    refunded: forward?.refunded ?? 0,
  };
}

async function carryOut(
  client: PoolClient,
  request: OperationRequest,
  decision: Decision,
  newTransactionId: () => string,
): Promise<OperationResult> {
  switch (decision.kind) {
    case "replay":
      return { answer: decision.answer, isReplayed: true };
    case "refuse":
      throw new ProblemError(decision.code, decision.detail);
    case "record": {
      const { amount, reason } = decision;
      const transactionId = newTransactionId();
      const outcome = reason === undefined ? "approved" : "declined";
      await client.query(sql.insertOperation, [
        request.key,
        request.kind,
        request.fingerprint,
        request.orderId,
        request.amount,
        amount,
        request.forwardKey,
        outcome,
        reason,
        transactionId,
      ]);
      if (amount > 0) {
        const entry = [request.orderId, request.kind, amount, request.key];
        await client.query(sql.insertLedgerEntry, entry);
      }
      if (decision.compensatesForward) {
        await client.query(sql.insertCompensation, [request.forwardKey, request.key]);
      }
      return { answer: { outcome, reason, transactionId, amount }, isReplayed: false };
    }
  }
}

interface HistoryRow {
  readonly kind: ProviderOperation | null;
  readonly order_id: string;
  readonly fingerprint: string;
  readonly outcome: "approved" | "declined";
  readonly reason: DeclineReason | null;
  readonly transaction_id: string;
  readonly amount_moved: string;
  readonly compensated: boolean;
  readonly captured: string;
  readonly refunded: string;
}

interface KeyHistory {
  readonly recorded: RecordedOperation | undefined;
  readonly isCompensated: boolean;
  readonly captured: number;
  readonly refunded: number;
}

async function readKey(from: Pool | PoolClient, key: string): Promise<KeyHistory> {
  const { rows } = await from.query<HistoryRow>(sql.readHistory, [key]);
  const row = rows[0];
  if (row === undefined) throw new Error("provider:operation.history always has a row");
  return {
    recorded: row.kind === null ? undefined : recordedFrom(row, row.kind),
    isCompensated: row.compensated,
    captured: Number(row.captured),
    refunded: Number(row.refunded),
  };
}

function recordedFrom(row: HistoryRow, kind: ProviderOperation): RecordedOperation {
  return {
    kind,
    orderId: row.order_id,
    fingerprint: row.fingerprint,
    answer: {
      outcome: row.outcome,
      reason: row.reason ?? undefined,
      transactionId: row.transaction_id,
      amount: Number(row.amount_moved),
    },
  };
}
