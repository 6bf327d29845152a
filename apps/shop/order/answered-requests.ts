import { createHash } from "node:crypto";
import type { MessageContext } from "dure";
import type { ServiceDure } from "../chassis/messaging.ts";
import { ProblemError } from "../chassis/problem.ts";
import * as sql from "./answered-requests-sql.ts";
import type { OrderTransaction } from "./order-moves.ts";

/** A request that is carried out once per user, route and key. */
export interface KeyedRequest {
  readonly userId: string;
  readonly route: string;
  readonly idempotencyKey: string;
  /** Everything that makes it this request: path parameters and body. */
  readonly content: unknown;
  readonly context: MessageContext;
}

/** What a request came to. */
export interface RequestAnswer<Body> {
  readonly status: number;
  readonly body: Body;
}

/** The same, and whether it had been answered before. */
export interface GivenAnswer<Body> extends RequestAnswer<Body> {
  readonly isReplayed: boolean;
}

/**
 * Carries a request out once: the key, what it does and the answer commit together. A duplicate that
 * runs at the same time waits for the first one in the unique index, and then gets its answer; if the
 * first one fails, it takes its place. When the process dies before the commit nothing has happened.
 *
 * @throws ProblemError IDEMPOTENCY_KEY_REUSED when the key came with another content; and whatever
 *   the work throws: then the key is free again
 */
export async function answerOnce<Body>(
  dure: ServiceDure,
  request: KeyedRequest,
  work: (tx: OrderTransaction) => Promise<RequestAnswer<Body>>,
): Promise<GivenAnswer<Body>> {
  const { userId, route, idempotencyKey } = request;
  const owner = [userId, route, idempotencyKey];
  const fingerprint = fingerprintOf(request.content);
  return dure.transaction(
    async (tx) => {
      const taken = await tx.client.query(sql.takeKey, [...owner, fingerprint]);
      if (taken.rowCount !== 1) {
        const { rows } = await tx.client.query<AnswerRow<Body>>(sql.readAnswer, owner);
        return { ...replay(rows[0], fingerprint), isReplayed: true };
      }
      const answer = await work(tx);
      await tx.client.query(sql.keepAnswer, [...owner, answer.status, JSON.stringify(answer.body)]);
      return { ...answer, isReplayed: false };
    },
    { context: request.context },
  );
}

function replay<Body>(row: AnswerRow<Body> | undefined, fingerprint: string): RequestAnswer<Body> {
  if (row === undefined) throw new Error("a request has the key, but cannot be read");
  if (row.request_fingerprint !== fingerprint) {
    throw new ProblemError("IDEMPOTENCY_KEY_REUSED", "The key came with another request before.");
  }
  return { status: row.status, body: row.body };
}

/** The schemas give parsed bodies their own order of fields, so equal requests are equal text. */
function fingerprintOf(content: unknown): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

interface AnswerRow<Body> {
  readonly request_fingerprint: string;
  readonly status: number;
  readonly body: Body;
}
