import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { EventToWrite } from "../core/event.ts";
import type { Faults } from "../core/faults.ts";
import type { MessageContext } from "../core/message.ts";
import type {
  OwnTransaction,
  RunOptions,
  ServiceTransaction,
  TransactionStore,
} from "../core/service-transaction.ts";
import type { Statement, TransactionHandle } from "../core/transaction.ts";
import type { OutboxStore, PreparedEvent } from "../outbox/outbox-store.ts";
import { prepareEvent } from "../outbox/outbox.ts";

/** What one transaction of a service is made of. */
export interface TransactionParts<Client, Result> {
  readonly transactions: TransactionStore<Client>;
  readonly outbox: OutboxStore;
  readonly source: string;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly context: () => MessageContext | undefined;
  readonly work: (
    tx: ServiceTransaction<Client>,
    raw: TransactionHandle,
    opened: readonly Readonly<Record<string, unknown>>[],
  ) => Promise<Result>;
  readonly onWritten: () => void;
  /** What is to be written last, in the same round trip as COMMIT. */
  readonly last?: (result: Result) => Promise<readonly Statement[]>;
  /** Whether the work has taken back its own writes: then its events go with them, and nobody is told. */
  readonly isUndone?: (result: Result) => boolean;
  /** It has committed. */
  readonly onCommitted?: (tx: TransactionHandle) => void;
  readonly options?: RunOptions | undefined;
}

/** Runs the work, writes what it emitted together with COMMIT, and says so after it. */
export async function runInTransaction<Client, Result>(
  parts: TransactionParts<Client, Result>,
): Promise<Result> {
  const { transactions, outbox, source, clock, faults } = parts;
  const emitted: (PreparedEvent | Promise<PreparedEvent>)[] = [];
  let committed: TransactionHandle | undefined;
  const result = await transactions.run(async (raw) => {
    let isOpen = true;
    const assertOpen = (): void => {
      if (!isOpen) {
        throw new DureError(
          "TRANSACTION_ENDED",
          `a transaction of "${source}" was used after it had ended: await everything inside it`,
        );
      }
    };
    const emit = (event: EventToWrite): void => {
      const prepared = prepareEvent(event, parts.context(), clock);
      // Settled below; until then a rejection is not unhandled.
      if (prepared instanceof Promise) prepared.catch(() => undefined);
      emitted.push(prepared);
    };
    const tx = new OpenTransaction(raw, assertOpen, emit);
    try {
      const value = await parts.work(tx, raw, raw.opened);
      // Before the first wait: what is emitted from here on would stand in no statement, and be lost in silence.
      isOpen = false;
      const isUndone = parts.isUndone?.(value) ?? false;
      if (isUndone) emitted.length = 0;
      const events = await Promise.all(emitted.map(async (prepared) => prepared));
      await faults.hit("transaction.before-commit");
      const last = events.length > 0 ? [outbox.appendStatement(source, events)] : [];
      if (parts.last !== undefined) last.push(...(await parts.last(value)));
      if (!isUndone) committed = tx;
      return { result: value, last };
    } finally {
      isOpen = false;
    }
  }, parts.options);
  await faults.hit("transaction.after-commit");
  if (emitted.length > 0) parts.onWritten();
  if (committed !== undefined) parts.onCommitted?.(committed);
  return result;
}

/** A class, for its getter stands in the prototype: in an object literal it would make a shape of its own for each. */
class OpenTransaction<Client> implements ServiceTransaction<Client> {
  readonly query: ServiceTransaction["query"];
  readonly emit: ServiceTransaction["emit"];
  readonly #raw: OwnTransaction<Client>;

  constructor(
    raw: OwnTransaction<Client>,
    assertOpen: () => void,
    emit: (event: EventToWrite) => void,
  ) {
    this.#raw = raw;
    this.query = (text, params) => {
      assertOpen();
      return raw.query(text, params);
    };
    this.emit = (definition, data) => {
      assertOpen();
      emit(definition.of(data));
    };
  }

  get client(): Client {
    return this.#raw.client;
  }
}
