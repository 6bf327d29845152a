import { paymentPreset } from "dure/resilience";
import type { DependencySnapshot } from "dure/resilience";
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
import type { StepOperation } from "./step-operation.ts";

/** How payment asks the provider. */
export interface ProviderClient {
  /**
   * Sends one request for what the payment waits for, and says what it came to. Never rejects because
   * of the provider: no answer is an outcome too. Repeating it repeats no effect, because each
   * operation of a saga has one key. The permit's signal ends the request: then its outcome is unknown.
   */
  perform(payment: ClaimedPayment, signal: AbortSignal): Promise<ProviderOutcome>;
  /** The same for what a step asks. */
  performStep(operation: StepOperation, signal: AbortSignal): Promise<ProviderOutcome>;
  readonly peer: "provider";
  /** How the provider stands, as this instance sees it. */
  standing(): DependencySnapshot;
  close(): Promise<void>;
}

/** What {@link createProviderClient} takes. */
export interface ProviderClientOptions {
  readonly config: ServiceConfig;
  readonly timeoutMs: number;
  readonly connectionsMax: number;
  /** How long the provider is left alone when it fails too often. @defaultValue 30000 */
  readonly breakerOpenMs?: number;
}

/** A client without retries of its own: the waiting is in the database, where it survives. */
export function createProviderClient(options: ProviderClientOptions): ProviderClient {
  const { breaker } = paymentPreset;
  const { config, timeoutMs, connectionsMax, breakerOpenMs = breaker.openMs } = options;
  const peer = createPeerClient({
    peer: "provider",
    baseUrl: config.peers.provider,
    tokens: createServiceTokens(config.auth, config.name),
    timeoutMs,
    retries: 0,
    preset: { ...paymentPreset, breaker: { ...breaker, openMs: breakerOpenMs } },
    connectionsMax,
    instruments: config.instruments,
  });

  async function send(request: ProviderRequest, context: CallContext): Promise<ProviderOutcome> {
    try {
      const schema = providerAnswerSchema;
      return outcomeOf(await peer.ask({ ...request, method: "POST", schema, context }));
    } catch (error) {
      if (error instanceof PeerError) return outcomeOfError(error);
      throw error;
    }
  }

  return {
    perform: (payment, signal) => send(requestFor(payment), { ...contextOf(payment), signal }),
    performStep: (operation, signal) =>
      send(requestForStep(operation), { ...operation.context, signal }),
    peer: "provider",
    standing: () => peer.standing(),
    close: () => peer.close(),
  };
}

interface ProviderRequest {
  readonly path: string;
  readonly idempotencyKey: string;
  readonly compensates?: string;
  readonly body: unknown;
}

function requestFor(payment: ClaimedPayment): ProviderRequest {
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

function requestForStep(operation: StepOperation): ProviderRequest {
  const { kind, key: idempotencyKey, orderId, amount, currency, forwardKey } = operation;
  const money = { orderId, amount, currency };
  const path = `/${kind}`;
  if (kind === "authorize" || kind === "charge") {
    return { path, idempotencyKey, body: { ...money, token: operation.cardToken } };
  }
  if (forwardKey === undefined) throw new Error(`${idempotencyKey}: a ${kind} of nothing`);
  if (kind === "capture") {
    return { path, idempotencyKey, body: { ...money, authorizationKey: forwardKey } };
  }
  const body = kind === "void" ? { orderId } : money;
  return { path, idempotencyKey, compensates: forwardKey, body };
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
  if (status === 422 && code === "AMOUNT_TOO_LARGE") return { kind: "rejected", code };
  return { kind: "unknown", code };
}
