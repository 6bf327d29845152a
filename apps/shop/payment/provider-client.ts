import { createPeerClient } from "../chassis/peer-client.ts";
import { PeerError } from "../chassis/peer-error.ts";
import { createServiceTokens } from "../chassis/service-token.ts";
import type { ServiceConfig } from "../chassis/config.ts";
import { continueTrace, requestIdFrom } from "../chassis/trace-context.ts";
import type { CallContext } from "../chassis/trace-context.ts";
import { providerAnswerSchema } from "../contracts/http/provider.ts";
import type { ProviderAnswer } from "../contracts/http/provider.ts";
import type { ClaimedPayment } from "./claimed-payment.ts";
import type { ProviderOutcome } from "./domain.ts";

/** How payment asks the provider. */
export interface ProviderClient {
  /**
   * Sends one request for what the payment waits for, and says what it came to. Never rejects because
   * of the provider: no answer is an outcome too. Repeating it repeats no effect, because each
   * operation of a saga has one key.
   */
  perform(payment: ClaimedPayment): Promise<ProviderOutcome>;
  close(): Promise<void>;
}

/** What {@link createProviderClient} takes. */
export interface ProviderClientOptions {
  readonly config: ServiceConfig;
  readonly timeoutMs: number;
  readonly connectionsMax: number;
}

/** A client without retries of its own: the waiting is in the database, where it survives. */
export function createProviderClient(options: ProviderClientOptions): ProviderClient {
  const { config, timeoutMs, connectionsMax } = options;
  const peer = createPeerClient({
    peer: "provider",
    baseUrl: config.peers.provider,
    tokens: createServiceTokens(config.auth, config.name),
    timeoutMs,
    retries: 0,
    connectionsMax,
  });
  return {
    async perform(payment) {
      try {
        const answer = await peer.ask({
          ...requestFor(payment),
          method: "POST",
          schema: providerAnswerSchema,
          context: contextOf(payment),
        });
        return outcomeOf(answer);
      } catch (error) {
        if (error instanceof PeerError) return outcomeOfError(error);
        throw error;
      }
    },
    close: () => peer.close(),
  };
}

function requestFor(payment: ClaimedPayment) {
  const { orderId, amount, currency, chargeKey, refundKey } = payment;
  const money = { orderId, amount, currency };
  if (payment.pending === "charge") {
    return {
      path: "/charge",
      idempotencyKey: chargeKey,
      body: { ...money, token: payment.cardToken },
    };
  }
  // One request for both: the provider gives back what was taken, and refuses what is still to come.
  return { path: "/refund", idempotencyKey: refundKey, compensates: chargeKey, body: money };
}

function contextOf({ cause }: ClaimedPayment): CallContext {
  return {
    requestId: requestIdFrom(cause.correlationId),
    trace: continueTrace(cause.traceparent),
  };
}

function outcomeOf(answer: ProviderAnswer): ProviderOutcome {
  const { transactionId, amount } = answer;
  if (answer.outcome === "approved") return { kind: "approved", transactionId, amount };
  return { kind: "declined", transactionId, reason: answer.reason ?? "PAYMENT_DECLINED" };
}

/** Only what the provider says for good is for good; a token it did not like (401) may pass. */
function outcomeOfError({ status, code }: PeerError): ProviderOutcome {
  if (code === "STEP_COMPENSATED") return { kind: "compensated" };
  if (status === 400 && code === "VALIDATION_FAILED") return { kind: "rejected", code };
  return { kind: "unknown", code };
}
