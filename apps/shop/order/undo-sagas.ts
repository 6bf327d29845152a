import { saga } from "dure";
import type { SagaDefinition, StepCall } from "dure";
import type { Pool, PoolClient } from "pg";
import { z } from "zod";
import { stopDelivery } from "../contracts/http/delivery-steps.ts";
import { balanceSchema, orderIdSchema, returnIdSchema } from "../contracts/http/fields.ts";
import { restockPieces } from "../contracts/http/inventory-steps.ts";
import type { Pieces } from "../contracts/http/inventory-steps.ts";
import { refundPayment } from "../contracts/http/payment-steps.ts";
import { wayTo } from "./domain.ts";
import { lockKnownOrder, moveOrder } from "./order-moves.ts";
import * as sql from "./return-sql.ts";
import type { AskParticipant } from "./step-calls.ts";

/** What undoing a completed order is started with: the order, and what is left of its money. */
export interface CancelInput {
  readonly orderId: string;
  readonly refund: number;
}

/** What taking goods back is started with: what is taken from where is in the service's tables. */
export interface ReturnInput {
  readonly returnId: string;
}

/** What both need. */
export interface UndoParts {
  readonly pool: Pool;
  readonly ask: AskParticipant;
}

/** A completed order that is undone. */
export type CancelSaga = SagaDefinition<CancelInput, undefined, PoolClient>;

/** Goods that come back. */
export type ReturnSaga = SagaDefinition<ReturnInput, undefined, PoolClient>;

/**
 * What was promised to the customer is kept: no step is undone, each is asked for until it is done. What
 * a participant refuses for good nobody expects: then the saga is parked for a person.
 */
const pivot = { attempts: Number.POSITIVE_INFINITY, baseMs: 100, maxMs: 10_000 } as const;
const forward = { attempts: 100, baseMs: 100, maxMs: 20_000 } as const;
/** A return may be a call for each of many orders; what was answered once is answered at once again. */
const timeoutMs = 60_000;

interface InSaga<Input> {
  readonly input: Input;
  readonly call: StepCall;
}

/** Stops the delivery, gives back the money and the pieces that no return has given back before. */
export function cancelSaga({ pool, ask }: UndoParts): CancelSaga {
  const ownerOf = ({ input, call }: InSaga<CancelInput>) => {
    return { orderId: input.orderId, sagaId: call.sagaId };
  };
  const input = z.strictObject({ orderId: orderIdSchema, refund: balanceSchema });
  return saga("cancel-order", { version: 1, input, key: ({ orderId }) => orderId, timeoutMs })
    .withClient<PoolClient>()
    .pivot("stop-delivery", {
      action: "delivery-stop",
      retry: pivot,
      run: async (step) => {
        await ask("delivery", { contract: stopDelivery, body: ownerOf(step), call: step.call });
      },
    })
    .step("refund-payment", {
      action: "payment-refund",
      retry: forward,
      run: async (step) => {
        const { refund: amount } = step.input;
        if (amount === 0) return;
        const body = { ...ownerOf(step), amount, reason: "CANCELED_BY_USER" as const };
        await ask("payment", { contract: refundPayment, body, call: step.call });
      },
    })
    .step("restock", {
      action: "inventory-restock",
      retry: forward,
      run: async (step) => {
        // Nothing is returned any more of an order that is being canceled.
        const { rows: items } = await pool.query<Pieces>(sql.listKept, [step.input.orderId]);
        if (items.length === 0) return;
        const body = { ...ownerOf(step), items };
        await ask("inventory", { contract: restockPieces, body, call: step.call });
      },
    })
    .step("cancel-order", {
      action: "order-cancel",
      retry: forward,
      local: async ({ tx, input: { orderId } }) => {
        const order = await lockKnownOrder(tx, orderId);
        const path = wayTo(order.status, "CANCELED");
        if (path !== undefined && path.length > 0) await moveOrder(tx, order, { path });
      },
    })
    .end();
}

/** Refunds what was paid for the goods, then puts them back on the shelf. */
export function returnSaga({ pool, ask }: UndoParts): ReturnSaga {
  const sharesOf = async (returnId: string): Promise<readonly ReturnShare[]> => {
    const { rows } = await pool.query<ShareRow>(sql.listShares, [returnId]);
    return rows.map((row) => ({ ...row, amount: Number(row.amount) }));
  };
  const input = z.strictObject({ returnId: returnIdSchema });
  return saga("return-goods", { version: 1, input, key: ({ returnId }) => returnId, timeoutMs })
    .withClient<PoolClient>()
    .pivot("refund-payment", {
      action: "payment-refund",
      retry: pivot,
      run: async ({ input: { returnId }, call }) => {
        for (const { orderId, amount, key } of keyed(await sharesOf(returnId), call)) {
          const body = { orderId, sagaId: call.sagaId, amount, returnId };
          await ask("payment", { contract: refundPayment, body, call, key });
        }
      },
    })
    .step("restock", {
      action: "inventory-restock",
      retry: forward,
      run: async ({ input: { returnId }, call }) => {
        for (const { orderId, items, key } of keyed(await sharesOf(returnId), call)) {
          const body = { orderId, sagaId: call.sagaId, returnId, items };
          await ask("inventory", { contract: restockPieces, body, call, key });
        }
      },
    })
    .step("complete-return", {
      action: "return-complete",
      retry: forward,
      statement: ({ input: { returnId } }) => ({ text: sql.completeReturn, params: [returnId] }),
    })
    .end();
}

/** What a return takes from one order. */
interface ReturnShare {
  readonly orderId: string;
  readonly amount: number;
  readonly items: readonly Pieces[];
}

interface ShareRow extends Omit<ReturnShare, "amount"> {
  readonly amount: string;
}

/** The participants take one order per call, so each order has a key; their order never changes. */
function keyed(
  shares: readonly ReturnShare[],
  { key }: StepCall,
): readonly (ReturnShare & { readonly key: string })[] {
  return shares.map((share, at) => ({ ...share, key: at === 0 ? key : `${key}-${at + 1}` }));
}
