import type { ReceivedMessage, ServiceTransaction } from "dure";
import type { ServiceDure } from "../chassis/messaging.ts";
import { OrderCanceled, OrderCompleted } from "../contracts/events.ts";
import { channels, textOf } from "./domain.ts";
import type { OrderFacts, Template } from "./domain.ts";
import { insertNotifications } from "./notification-sql.ts";

/**
 * Notes whom to notify of an order's end. A message that cannot be noted is a dead letter and
 * holds up nobody: the order does not depend on this service.
 */
export function registerHandlers(dure: ServiceDure, onPending: () => void): void {
  const note = async (
    template: Template,
    message: ReceivedMessage<OrderFacts & { readonly userId: string }>,
    tx: ServiceTransaction,
  ): Promise<void> => {
    const { orderId, userId } = message.data;
    const text = textOf(template, message.data);
    await tx.query(insertNotifications, [message.id, orderId, userId, template, text, channels]);
    onPending();
  };
  dure.on(OrderCompleted, { whenPoisoned: "skip" }, (message, tx) =>
    note("ORDER_COMPLETED", message, tx),
  );
  dure.on(OrderCanceled, { whenPoisoned: "skip" }, (message, tx) =>
    note("ORDER_CANCELED", message, tx),
  );
}
