import { assert, DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import { createSemanticLocks } from "../isolation/semantic-lock.ts";
import type { SemanticLocks } from "../isolation/semantic-lock.ts";
import type { HeldLock, SemanticLockStore } from "../isolation/semantic-lock-store.ts";
import { checkSchemaName, quoteIdentifier } from "./pool.ts";
import { semanticLockSql } from "./semantic-lock-sql.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";

/**
 * Semantic locks in the service's own database: they commit with the business rows.
 *
 * @throws CONFIGURATION_INVALID when the schema's name cannot be used
 */
export function postgresSemanticLocks(options?: {
  /** @defaultValue "dure" */
  readonly schema?: string;
}): SemanticLocks {
  return createSemanticLocks(
    semanticLockStore(quoteIdentifier(checkSchemaName(options?.schema ?? "dure"))),
  );
}

function semanticLockStore(schema: string): SemanticLockStore {
  const sql = semanticLockSql(schema);

  async function query(
    tx: TransactionHandle,
    text: string,
    params?: readonly unknown[],
  ): Promise<readonly Record<string, unknown>[]> {
    try {
      return (await tx.query(text, params)).rows;
    } catch (error) {
      throw sqlStateOf(error) === "25P01" ? notInTransaction(error) : translateSqlError(error);
    }
  }

  /** Asked again, with proof of a transaction, where the function saw none: then nothing has been written in it yet. */
  async function decide<Outcome>(
    tx: TransactionHandle,
    text: string,
    params: readonly unknown[],
  ): Promise<Outcome> {
    let [row] = await query(tx, text, [...params, false]);
    if (row?.["answer"] === null) {
      await query(tx, sql.assertTransaction);
      [row] = await query(tx, text, [...params, true]);
    }
    return outcomeOf(parse<DecisionJson>(row));
  }

  return {
    acquire: (tx, { resource, owner, leaseMs, waitMs }) =>
      decide(tx, sql.acquire, [resource, owner, leaseMs, waitMs]),
    change: (tx, { action, resource, owner, token, leaseMs, waitMs }) =>
      decide(tx, sql.change, [action, resource, owner, token, leaseMs, waitMs]),
    async read(tx, resource) {
      const [row] = await query(tx, sql.read, [resource]);
      return row === undefined ? undefined : lockOf(parse(row));
    },
    async sweepExpired(tx, limit) {
      await query(tx, sql.assertTransaction);
      return (await query(tx, sql.sweep, [limit])).map((row) => lockOf(parse(row)));
    },
  };
}

/** As the functions write it; what is absent is null. */
type LockJson = Omit<HeldLock, "expiresAt" | "remainingMs"> & {
  readonly expiresAt: string | null;
  readonly remainingMs: number | null;
};

/** The kinds are those of the port, word for word. */
interface DecisionJson {
  readonly kind: string;
  readonly lock?: LockJson;
  readonly takenOver?: LockJson | null;
}

function outcomeOf<Outcome>({ kind, lock, takenOver }: DecisionJson): Outcome {
  const outcome = {
    kind,
    ...(lock !== undefined && { lock: lockOf(lock) }),
    ...(takenOver !== undefined && { takenOver: takenOver ? lockOf(takenOver) : undefined }),
  };
  // Which fields belong to which kind is decided in one place, the functions of 0012_isolation.sql.
  return outcome as Outcome;
}

function lockOf(json: LockJson): HeldLock {
  return {
    ...json,
    expiresAt: json.expiresAt ?? undefined,
    remainingMs: json.remainingMs ?? undefined,
  };
}

function parse<Answer>(row: Record<string, unknown> | undefined): Answer {
  const answer = row?.["answer"];
  assert(typeof answer === "string", "a function of semantic locks answers with JSON");
  return JSON.parse(answer) as Answer;
}

function notInTransaction(cause: unknown): DureError {
  return new DureError(
    "NOT_IN_TRANSACTION",
    "a semantic lock was asked for outside a transaction, so it could not commit together with anything; nothing was changed. Begin a transaction on this connection, or use dure.transaction",
    { cause },
  );
}
