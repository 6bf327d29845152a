import type { SagaReason } from "dure";
import type {
  CancelReason,
  CheckoutMode,
  OrderItem,
  OrderStage,
  OrderStatus,
} from "../contracts/http/orders.ts";
import { cancelReasons } from "../contracts/events.ts";
import { flowRules, flowStages } from "./flow.ts";
import type { FlowEvent, FlowFacts } from "./flow.ts";

/** The amount of an order, or undefined when JSON could not carry it exactly. */
export function amountOf(items: readonly OrderItem[]): number | undefined {
  // A line fits (10⁶ × 10⁹ < 2⁵³), and the sum is checked at each step, so it is always exact.
  let sum = 0;
  for (const { quantity, unitPrice } of items) {
    sum += quantity * unitPrice;
    if (!Number.isSafeInteger(sum)) return undefined;
  }
  return sum;
}

const transitions: Readonly<Record<OrderStatus, readonly OrderStatus[]>> = {
  PENDING: ["PROCESSING", "CANCELING", "NEEDS_ATTENTION"],
  PROCESSING: ["COMPLETED", "CANCELING", "NEEDS_ATTENTION"],
  COMPLETED: ["CANCELING"],
  CANCELING: ["CANCELED", "NEEDS_ATTENTION"],
  CANCELED: [],
  NEEDS_ATTENTION: ["PENDING", "PROCESSING", "CANCELING"],
};

/** Whether an order may go from one status to the other in one step. */
export function isLegal(from: OrderStatus, to: OrderStatus): boolean {
  return transitions[from].includes(to);
}

/** From which statuses an order may come to this one: what the guarded update allows. */
export function predecessorsOf(to: OrderStatus): readonly OrderStatus[] {
  return statuses.filter((from) => isLegal(from, to));
}

const statuses = Object.keys(transitions) as readonly OrderStatus[]; // keys of a Record<OrderStatus>

/** Whether the checkout is over: everything done, or everything undone. */
export function isFinal(status: OrderStatus): status is "COMPLETED" | "CANCELED" {
  return status === "COMPLETED" || status === "CANCELED";
}

/**
 * The statuses that a choreographed order passes to reach the target, without the first one; empty
 * when it is there already, undefined when there is no legal way.
 */
export function pathTo(from: OrderStatus, target: OrderStatus): readonly OrderStatus[] | undefined {
  if (from === target) return [];
  if (isFinal(from) || from === "NEEDS_ATTENTION") return undefined;
  if (target === "CANCELING") return ["CANCELING"];
  if (target === "CANCELED") return from === "CANCELING" ? ["CANCELED"] : ["CANCELING", "CANCELED"];
  const [at, to] = [forward.indexOf(from), forward.indexOf(target)];
  return at < 0 || to < at ? undefined : forward.slice(at + 1, to + 1);
}

/**
 * The statuses that an order passes to its end when its saga says so, without the first one; empty
 * when it is there already, undefined when there is no legal way.
 */
export function wayTo(
  from: OrderStatus,
  end: "COMPLETED" | "CANCELED",
): readonly OrderStatus[] | undefined {
  if (from === end) return [];
  if (isFinal(from)) return undefined;
  const before: OrderStatus = end === "COMPLETED" ? "PROCESSING" : "CANCELING";
  if (from === before) return [end];
  return isLegal(from, before) ? [before, end] : undefined;
}

/**
 * As {@link wayTo}, when an operator has said how it ends: one that was on its way back may have been completed
 * by hand, and a completed one that was to be canceled may stay as it is.
 */
export function wayByHand(
  from: OrderStatus,
  end: "COMPLETED" | "CANCELED",
): readonly OrderStatus[] | undefined {
  const way = wayTo(from, end);
  if (way !== undefined || isFinal(from)) return way;
  return ["NEEDS_ATTENTION", ...(wayTo("NEEDS_ATTENTION", end) ?? [])];
}

const forward: readonly OrderStatus[] = ["PENDING", "PROCESSING", "COMPLETED"];

const orchestratedStages: readonly OrderStage[] = [
  "ACCEPTED",
  "STOCK_RESERVED",
  "PAYMENT_AUTHORIZED",
  "PAYMENT_CAPTURED",
  "PAYMENT_CHARGED",
  "DELIVERY_STARTED",
];

/** Why an order is canceled, by why its saga is undone. */
export function cancelReasonOf({ code, step }: SagaReason): CancelReason {
  const word = cancelReasons.find((reason) => reason === code);
  // Of a step it says that no answer came.
  if (word !== undefined && (word !== "TIMED_OUT" || step === undefined)) return word;
  if (step?.endsWith("-payment") === true) return "PROVIDER_UNAVAILABLE";
  // An operator, who gives no reason of the shop.
  return code === "CANCELED" || code === "RESOLVED" ? "CANCELED_BY_USER" : "TIMED_OUT";
}

/** The stages before this one, for the guard of an orchestrated checkout. */
export function stagesBefore(stage: OrderStage): readonly OrderStage[] {
  return orchestratedStages.slice(0, orchestratedStages.indexOf(stage));
}

/** The stage that is further in the mode's order: stages only go forward. */
export function furtherStage(mode: CheckoutMode, one: OrderStage, other: OrderStage): OrderStage {
  const order = mode === "choreography" ? flowStages : orchestratedStages;
  return order.indexOf(other) > order.indexOf(one) ? other : one;
}

/** Where a choreographed checkout stands by what has been heard of it. */
export interface Standing {
  readonly status: OrderStatus;
  readonly stage: OrderStage;
  readonly reason?: CancelReason;
}

/** Where a choreographed checkout stands. The facts decide, not the order in which they came. */
export function standingOf(facts: FlowFacts): Standing {
  const events = [...facts.keys()];
  const stage = events
    .map((event) => flowRules[event].reached)
    .reduce((one, other) => furtherStage("choreography", one, other), "ACCEPTED" as OrderStage);
  const leadsTo = new Set(events.map((event) => flowRules[event].leadsTo));
  if (leadsTo.has("COMPLETED")) return { status: "COMPLETED", stage };
  if (leadsTo.has("CANCELING")) return undoing(facts, stage);
  return { status: events.length === 0 ? "PENDING" : "PROCESSING", stage };
}

function undoing(facts: FlowFacts, stage: OrderStage): Standing {
  const isUndone = owed(facts).every((event) => facts.has(event));
  const reason = [...facts.values()].find((each) => each !== undefined);
  return {
    status: isUndone ? "CANCELED" : "CANCELING",
    stage,
    ...(reason === undefined ? {} : { reason }),
  };
}

/** What must be heard before nothing of the order is left. */
function owed(facts: FlowFacts): readonly FlowEvent[] {
  if (facts.has("payment.failed")) return [];
  if (facts.has("stock.reservation-failed")) return ["payment.refunded"];
  const wasReserved =
    facts.has("stock.reserved") ||
    facts.has("stock.released") ||
    facts.has("delivery.failed") ||
    // The refund names its cause, also when it is the first that is heard of it.
    facts.get("payment.refunded") === "DELIVERY_REFUSED";
  return wasReserved ? ["payment.refunded", "stock.released"] : ["payment.refunded"];
}
