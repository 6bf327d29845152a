import type { TransactionHandle } from "../core/transaction.ts";
import { createParticipantBarrier } from "../participant/barrier.ts";
import type { ParticipantBarrier } from "../participant/barrier.ts";
import type { BarrierStore, ParticipantAction } from "../participant/barrier-store.ts";
import { participantSql } from "./participant-sql.ts";
import { checkSchemaName, quoteIdentifier } from "./pool.ts";
import { translateSqlError } from "./sqlstate.ts";

/** The participant barrier in the service's own database: its rows commit with the business rows. */
export function postgresParticipantBarrier(options?: {
  /** @defaultValue "dure" */
  readonly schema?: string;
}): ParticipantBarrier {
  return createParticipantBarrier(
    barrierStore(quoteIdentifier(checkSchemaName(options?.schema ?? "dure"))),
  );
}

function barrierStore(schema: string): BarrierStore {
  const sql = participantSql(schema);

  async function read(
    tx: TransactionHandle,
    forwardKey: string,
  ): Promise<ParticipantAction | undefined> {
    const row = (await tx.query(sql.read, [forwardKey])).rows[0];
    if (row === undefined) return undefined;
    return {
      state: row["state"] as ParticipantAction["state"],
      answer: parse(row["answer"]),
      compensationKey:
        typeof row["compensation_key"] === "string" ? row["compensation_key"] : undefined,
      compensationAnswer: parse(row["compensation_answer"]),
    };
  }

  /** Whether the row was not there before. Outside a transaction it would stand alone, and is refused. */
  async function isNew(
    tx: TransactionHandle,
    statement: string,
    params: readonly unknown[],
  ): Promise<boolean> {
    try {
      let { rows } = await tx.query(statement, [...params, false]);
      if (rows[0]?.["is_given"] !== true) {
        await tx.query(sql.assertTransaction);
        ({ rows } = await tx.query(statement, [...params, true]));
      }
      return rows[0]?.["is_new"] === true;
    } catch (error) {
      throw translateSqlError(error);
    }
  }

  return {
    async beginForward(tx, forwardKey) {
      if (await isNew(tx, sql.insertDone, [forwardKey, null])) return undefined;
      // In a statement of its own: it sees what the transaction that we waited for has committed.
      return read(tx, forwardKey);
    },
    async beginCompensation(tx, forwardKey, compensationKey) {
      if (await isNew(tx, sql.insertCompensated, [forwardKey, compensationKey])) return undefined;
      const before = await read(tx, forwardKey);
      if (before?.state === "done")
        await tx.query(sql.markCompensated, [forwardKey, compensationKey]);
      return before;
    },
    async beginRefusal(tx, forwardKey, refusal) {
      const isRefused = await isNew(tx, sql.insertRefused, [forwardKey, JSON.stringify(refusal)]);
      return isRefused ? undefined : read(tx, forwardKey);
    },
    async recordAnswer(tx, forwardKey, answer) {
      await tx.query(sql.recordAnswer, [forwardKey, JSON.stringify(answer ?? null)]);
    },
    async recordCompensationAnswer(tx, forwardKey, answer) {
      await tx.query(sql.recordCompensationAnswer, [forwardKey, JSON.stringify(answer ?? null)]);
    },
  };
}

function parse(text: unknown): unknown {
  return typeof text === "string" ? (JSON.parse(text) as unknown) : undefined;
}
