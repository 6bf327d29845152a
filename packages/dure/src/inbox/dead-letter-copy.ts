import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Message } from "../core/message.ts";
import type { Failure } from "../core/parking.ts";
import type { DeadLetterNotice, Transport } from "../core/transport.ts";

/** Where copies of dead letters go, beside the table that is in charge of them. */
export interface DeadLetterCopies {
  readonly leave: (notice: DeadLetterNotice) => Promise<void>;
  readonly logger: Logger;
}

/** The place of a transport, if it has one. */
export function copiesOn(transport: Transport, logger: Logger): DeadLetterCopies | undefined {
  const leave = transport.leaveDeadLetter?.bind(transport);
  return leave === undefined ? undefined : { leave, logger };
}

/**
 * Leaves a copy of a message that is about to become a dead letter, and says what to record. Where the copy
 * cannot be left, the message is not given up yet: its next attempt comes, and with it the next copy.
 * No transaction is open meanwhile. If the process dies here, the message is tried again, and copied twice.
 */
export async function copyDeadLetter(
  copies: DeadLetterCopies | undefined,
  message: Message,
  failure: Failure,
  facts: { readonly group: string; readonly attempts: number },
): Promise<Failure> {
  if (copies === undefined || !failure.isFinal) return failure;
  const { code, error } = failure;
  try {
    await copies.leave({ message, code, error, ...facts });
    return failure;
  } catch (reason) {
    copies.logger.warn("a dead letter could not be copied to the transport: it is tried again", {
      group: facts.group,
      messageId: message.id,
      error: describeError(reason),
    });
    return { ...failure, isFinal: false, retryInMs: Math.max(failure.retryInMs, 1_000) };
  }
}
