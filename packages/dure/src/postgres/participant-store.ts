import type { TransactionHandle } from "../core/transaction.ts";
import { createParticipantBarrier } from "../participant/barrier.ts";
import type { ParticipantBarrier } from "../participant/barrier.ts";
import type { BarrierStore, ParticipantAction } from "../participant/barrier-store.ts";
import { participantSql } from "./participant-sql.ts";
import { checkSchemaName, quoteIdentifier } from "./pool.ts";

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
      state: row["state"] === "done" ? "done" : "compensated",
      answer: parse(row["answer"]),
      compensationKey:
        typeof row["compensation_key"] === "string" ? row["compensation_key"] : undefined,
      compensationAnswer: parse(row["compensation_answer"]),
    };
  }

  return {
    async beginForward(tx, forwardKey) {
      const { rows } = await tx.query(sql.insertDone, [forwardKey]);
      // In a statement of its own: it sees what the transaction that we waited for has committed.
      return rows.length > 0 ? undefined : read(tx, forwardKey);
    },
    async beginCompensation(tx, forwardKey, compensationKey) {
      const { rows } = await tx.query(sql.insertCompensated, [forwardKey, compensationKey]);
      if (rows.length > 0) return undefined;
      const before = await read(tx, forwardKey);
      if (before?.state === "done")
        await tx.query(sql.markCompensated, [forwardKey, compensationKey]);
      return before;
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
