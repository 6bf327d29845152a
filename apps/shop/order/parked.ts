import { SagaParked } from "dure";
import type { Logger } from "pino";
import type { ServiceDure } from "../chassis/messaging.ts";
import { isLegal } from "./domain.ts";
import { lockKnownOrder, moveOrder } from "./order-moves.ts";
import * as sql from "./return-sql.ts";

/**
 * Shows on the order, or on the return, that its saga waits for a person. When the saga is resumed its
 * steps move it on: from NEEDS_ATTENTION they go where they would have gone.
 */
export function registerParkedHandler(dure: ServiceDure, logger: Logger): void {
  dure.on(SagaParked, { whenPoisoned: "skip" }, async ({ data }, tx) => {
    const { sagaId, status, step, code } = data;
    logger.error({ sagaId, status, step, code }, "a saga waits for a person");
    await tx.client.query(sql.parkReturn, [sagaId]);
    const { rows } = await tx.client.query<OrderIdRow>(sql.findOrderOfSaga, [sagaId]);
    if (rows[0] === undefined) return;
    const order = await lockKnownOrder(tx, rows[0].order_id);
    // Final: it was resumed before this was heard, and has come to its end.
    if (isLegal(order.status, "NEEDS_ATTENTION")) {
      await moveOrder(tx, order, { path: ["NEEDS_ATTENTION"] });
    }
  });
}

interface OrderIdRow {
  readonly order_id: string;
}
