import type { IncomingMessage, ServerResponse } from "node:http";
import { json } from "node:stream/consumers";

/** One call of a saga to a participant. */
export interface AskedStep {
  /** `inventory-reserve`, `payment-void`, … */
  readonly step: string;
  readonly key: string;
  readonly compensates: string | undefined;
  readonly fencingToken: number;
  readonly requestId: string | undefined;
  readonly traceparent: string | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}

/** An answer of a participant: a problem when the status says so. */
export interface PlayedAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** The participants of the order service's sagas. All of them say yes, unless a test says otherwise. */
export interface PlayedParticipants {
  /** Everything that was asked for, in the order in which it came. */
  readonly asked: AskedStep[];
  /** By step. Undefined lets the usual answer stand. */
  readonly answers: Map<string, (asked: AskedStep) => PlayedAnswer | undefined>;
  /** The steps that were asked for an order. */
  stepsOf(orderId: string): readonly AskedStep[];
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

/** A problem of a participant. */
export function problem(status: number, code: string): PlayedAnswer {
  return { status, body: { code, status, detail: "as the test wants it" } };
}

/** Plays them. */
export function playParticipants(): PlayedParticipants {
  const asked: AskedStep[] = [];
  const answers: PlayedParticipants["answers"] = new Map();
  return {
    asked,
    answers,
    stepsOf: (orderId) => asked.filter(({ body }) => body["orderId"] === orderId),
    async answer(request, response) {
      const step = await stepOf(request);
      asked.push(step);
      const { status, body } = answers.get(step.step)?.(step) ?? usual(step);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    },
  };
}

async function stepOf(request: IncomingMessage): Promise<AskedStep> {
  const header = (name: string): string | undefined => request.headers[name]?.toString();
  const unquoted = (text: string | undefined): string | undefined => text?.replaceAll('"', "");
  return {
    step: request.url?.split("/").at(-1) ?? "",
    key: unquoted(header("idempotency-key")) ?? "",
    compensates: unquoted(header("compensates")),
    fencingToken: Number(header("fencing-token")),
    requestId: header("x-request-id"),
    traceparent: header("traceparent"),
    body: (await json(request)) as AskedStep["body"],
  };
}

function usual({ step, body }: AskedStep): PlayedAnswer {
  const money = { amount: body["amount"] ?? 1, transactionId: "TX-1" };
  const undone = { outcome: "undone" };
  const bodies: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    "inventory-reserve": { expiresAt: "2026-12-01T00:00:00.000Z" },
    "inventory-cancel": undone,
    "inventory-confirm": { status: "CONFIRMED" },
    "inventory-unconfirm": undone,
    "inventory-restock": { status: "RESTOCKED" },
    "payment-authorize": { status: "AUTHORIZED", ...money },
    "payment-void": { ...undone, amount: 1 },
    "payment-charge": { status: "CHARGED", ...money },
    "payment-charge-refund": { ...undone, amount: 1 },
    "payment-capture": { status: "CAPTURED", ...money },
    "payment-refund": { status: "REFUNDED", ...money },
    "delivery-start": { status: "STARTED", deliveryId: "DEL-1" },
    "delivery-stop": { status: "STOPPED" },
  };
  const answer = bodies[step];
  return answer === undefined ? { status: 404, body: {} } : { status: 200, body: answer };
}
