import type { StepContract } from "../../contracts/http/step.ts";
import { fencingTokenHeader } from "../../contracts/http/step.ts";
import type { ServiceName } from "../config.ts";
import { createPeerClient } from "../peer-client.ts";
import { PeerError } from "../peer-error.ts";
import { createServiceTokens } from "../service-token.ts";
import { newCallContext } from "../trace-context.ts";
import { testAuth } from "./test-server.ts";

/** Asks a participant for steps as the order service does, each call once. */
export interface StepCaller {
  /** The answer, or the problem's code; a body's fields can be matched either way. */
  ask<Body, Answer>(
    contract: StepContract<Body, Answer>,
    body: Body,
    keys: { readonly key: string; readonly compensates?: string },
  ): Promise<StepResult<Answer>>;
  close(): Promise<void>;
}

/** `code` is OK, the problem's, or what happened to the connection. */
export interface StepResult<Answer> {
  readonly code: string;
  readonly body?: Answer;
  readonly status?: number | undefined;
  readonly isOutcomeUnknown?: boolean;
  readonly retryAfterMs?: number | undefined;
}

/** A caller of one participant. */
export function createStepCaller(peer: ServiceName, baseUrl: string): StepCaller {
  const tokens = createServiceTokens(testAuth, "order");
  const client = createPeerClient({ peer, baseUrl, tokens, retries: 0, timeoutMs: 15_000 });
  return {
    async ask(contract, body, { key, compensates }) {
      try {
        const answer = await client.ask({
          method: "POST",
          path: contract.path,
          body,
          headers: { [fencingTokenHeader]: "7" },
          idempotencyKey: key,
          ...(compensates === undefined ? {} : { compensates }),
          schema: contract.answer,
          context: newCallContext(),
        });
        return { code: "OK", body: answer };
      } catch (error) {
        if (!(error instanceof PeerError)) throw error;
        const { code, status, retryAfterMs, outcomeUnknown: isOutcomeUnknown } = error;
        return { code, status, retryAfterMs, isOutcomeUnknown };
      }
    },
    close: () => client.close(),
  };
}
