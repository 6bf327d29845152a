import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { validateEvent } from "../core/event.ts";
import type { EventToWrite } from "../core/event.ts";
import { newId } from "../core/id.ts";
import type { MessageContext } from "../core/message.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { OutboxStore, PreparedEvent } from "./outbox-store.ts";

/** The write side of the outbox, for transactions that are not the library's own. */
export interface Outbox {
  /**
   * Writes events into the caller's transaction: published if and only if it commits. All events of one
   * call travel in one statement. Two transactions that emit for the same keys in several calls and in a
   * different order can deadlock (SQLSTATE 40P01: run it again); one call with all events cannot.
   *
   * @returns the ids of the messages
   * @throws NOT_IN_TRANSACTION when the handle is not inside a transaction: nothing was written
   * @throws EVENT_INVALID when data does not fit its schema: nothing was written
   * @throws TOO_MANY_KEYS for more than 1,000 keys
   */
  emit(
    tx: TransactionHandle,
    events: EventToWrite | readonly EventToWrite[],
    options?: { readonly context?: MessageContext },
  ): Promise<readonly string[]>;
}

/** Longest key, in characters: it is part of an index entry. */
const keyLengthMax = 512;
/** Longest data, in characters of JSON: an event is a fact, not a file. */
const dataLengthMax = 1_048_576;

/** Makes the outbox of one service. `onWritten` is told after each emit, for the relay to look soon. */
export function createOutbox(options: {
  readonly source: string;
  readonly store: OutboxStore;
  readonly clock: Clock;
  readonly onWritten: () => void;
}): Outbox {
  return {
    async emit(tx, events, emitOptions) {
      const list = "definition" in events ? [events] : events;
      const prepared = await Promise.all(
        list.map(async (written) => prepareEvent(written, emitOptions?.context, options.clock)),
      );
      if (prepared.length === 0) return [];
      await options.store.append(tx, options.source, prepared);
      options.onWritten();
      return prepared.map((written) => written.id);
    },
  };
}

/**
 * Checks an event against its schema and makes it ready to be written; at once where the schema answers at once.
 * @throws EVENT_INVALID
 */
export function prepareEvent(
  written: EventToWrite,
  context: MessageContext | undefined,
  clock: Clock,
): PreparedEvent | Promise<PreparedEvent> {
  const { definition } = written;
  // Taken before any wait: what the caller does to the object afterwards does not change the event.
  const data = JSON.stringify(written.data) as string | undefined;
  const output = validateEvent(definition, written.data);
  const finish = (value: unknown): PreparedEvent => {
    // The value is what the definition's own schema returned: `of` and `emit` tied the two together.
    const key = definition.key(value as never);
    if (data === undefined) throw invalid(definition.type, "its data is undefined");
    if (data.length > dataLengthMax) {
      throw invalid(
        definition.type,
        `its data has ${data.length} characters of JSON, at most ${dataLengthMax} are allowed: send a reference`,
      );
    }
    if (
      typeof key !== "string" ||
      key === "" ||
      key.length > keyLengthMax ||
      /\p{Cc}/u.test(key) ||
      !key.isWellFormed()
    ) {
      throw invalid(
        definition.type,
        `its key must be a string of 1 to ${keyLengthMax} characters without control characters or half characters`,
      );
    }
    return {
      id: newId(clock),
      topic: definition.topic,
      key,
      type: definition.type,
      version: definition.version,
      data,
      context,
    };
  };
  return output instanceof Promise ? output.then(finish) : finish(output);
}

function invalid(type: string, what: string): DureError {
  return new DureError("EVENT_INVALID", `event "${type}" was not written: ${what}`);
}
