import { createDeadLetters } from "../admin/dead-letters.ts";
import type { DeadLetters } from "../admin/dead-letters.ts";
import { createRelayControl } from "../admin/relay-control.ts";
import type { RelayControl } from "../admin/relay-control.ts";
import type { LockControl } from "../admin/lock-control.ts";
import type { SagaControl } from "../admin/saga-control.ts";
import type { StoreStatus } from "../admin/admin-store.ts";
import { settledWithin } from "../core/abort.ts";
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { EventDefinition } from "../core/event.ts";
import { noFaults } from "../core/faults.ts";
import type { Faults } from "../core/faults.ts";
import { silentLogger } from "../core/logger.ts";
import type { Logger } from "../core/logger.ts";
import type { MessageContext } from "../core/message.ts";
import type { ServiceTransaction, TransactionOptions } from "../core/service-transaction.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { RetryTopics } from "../core/transport.ts";
import type { KeyedRequests } from "../idempotency/keyed-request.ts";
import type { Subscriber } from "../inbox/inbox.ts";
import type { OrderCounts } from "../inbox/order-check.ts";
import type { Locks } from "../lock/locks.ts";
import { createOutbox } from "../outbox/outbox.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Relay } from "../outbox/relay.ts";
import type { SagaEngine } from "../saga/saga-engine.ts";
import type { Sagas } from "../saga/sagas.ts";
import type { SemaphoreControl } from "../admin/semaphore-control.ts";
import type { Semaphores } from "../semaphore/semaphores.ts";
import { watchBacklog } from "./backlog-watch.ts";
import { startConsumer, topicsOf } from "./consumer-wiring.ts";
import type { ConsumerWiring, Group } from "./consumer-wiring.ts";
import { assertDedupHorizon } from "./dedup-horizon.ts";
import { wireFlows } from "./flow-wiring.ts";
import type { Handler, OnOptions } from "./handler.ts";
import { wireLocks } from "./lock-wiring.ts";
import { wireKeys } from "./keyed-runner.ts";
import type { KeyedTransaction } from "./keyed-runner.ts";
import { runMaintenance } from "./maintenance-loop.ts";
import { readOptions } from "./service-options.ts";
import type { DureOptions, DureSettings } from "./service-options.ts";
import { startRelay } from "./relay-wiring.ts";
import { checkRetryPlace, misuse, retryTopicsFor } from "./retry-place.ts";
import { wireSagas } from "./saga-wiring.ts";
import { wireSemaphores } from "./semaphore-wiring.ts";
import { runInTransaction } from "./service-transaction.ts";
import type { TransactionParts } from "./service-transaction.ts";

/** What a service looks like from outside. */
export interface DureStatus extends StoreStatus {
  readonly isRunning: boolean;
  /** Events that this process has published since it started. */
  readonly published: number;
  /** What each group of this process has seen of its streams' order. */
  readonly order: Readonly<Record<string, OrderCounts>>;
}

/**
 * One service's consistency: its outbox and relay, its inbox and handlers, its dead letters.
 * Made by {@link createDure}.
 */
export class Dure<Client = unknown> {
  /** Writes events into a transaction that is not the library's own. */
  readonly outbox: Outbox;
  /** What failed for good. */
  readonly deadLetters: DeadLetters;
  /** The relays of this service, in whatever process they run: pause, resume, drain, repair. */
  readonly relay: RelayControl;
  /** Locks with fencing tokens, and what an operator sees of them and does to them. */
  readonly locks: Locks<Client> & LockControl;
  /** Starts sagas, waits for them, and what an operator sees of them and does to them. */
  readonly sagas: Sagas & SagaControl;
  /** Requests that are carried out once, with what they write; `dure/http/…` has it for web frameworks. */
  readonly idempotency: KeyedRequests<KeyedTransaction<Client>>;
  /** So many at once, over all processes, and a bounded line in front; and the operator's levers on it. */
  readonly semaphores: Semaphores & SemaphoreControl;
  readonly #closeSemaphores: () => Promise<void>;
  readonly #sagaEngine: SagaEngine | undefined;
  readonly #watchFlows: ((signal: AbortSignal) => Promise<void>) | undefined;
  readonly #afterCommit: WeakMap<TransactionHandle, (() => void)[]> = new WeakMap();
  readonly #options: DureOptions<Client>;
  readonly #settings: DureSettings;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #faults: Faults;
  readonly #groups: Map<string, Group> = new Map();
  #stop: AbortController | undefined;
  #loops: Promise<unknown> = Promise.resolve();
  #relay: Relay | undefined;
  #published = 0;

  constructor(options: DureOptions<Client>) {
    this.#options = options;
    this.#settings = readOptions(options);
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#faults = options.faults ?? noFaults;
    this.deadLetters = createDeadLetters(options.store.admin, () => this.#sagaEngine?.wake());
    this.relay = createRelayControl(options.store.admin, this.#clock);
    this.idempotency = wireKeys<Client>({
      store: options.store.keys,
      clock: this.#clock,
      run: (work, context, more) => this.#run(work, context, more),
    });
    [this.semaphores, this.#closeSemaphores] = wireSemaphores(options, this.#settings.semaphores);
    this.outbox = createOutbox({
      source: options.service,
      store: options.store.outbox,
      clock: this.#clock,
      onWritten: () => this.#wakeRelays(),
    });
    this.locks = wireLocks<Client>({
      options,
      clock: this.#clock,
      logger: this.#logger,
      transaction: (work, more) => this.#run(work, () => undefined, more),
    });
    const { sagas, engine, outcomes, handlers } = wireSagas({
      options,
      settings: this.#settings.sagas,
      clock: this.#clock,
      logger: this.#logger,
      life: () => {
        if (this.#stop === undefined) return "new";
        return this.#stop.signal.aborted ? "stopped" : "running";
      },
      run: (work, more) => this.#run(work, () => undefined, more),
      onWritten: () => this.#wakeRelays(),
      afterCommit: (tx, callBack) => this.#callAfterCommit(tx, callBack),
    });
    this.sagas = sagas;
    this.#sagaEngine = engine;
    for (const { definition, handle } of handlers) {
      this.on(definition, { group: `${options.service}.sagas` }, (message, tx) =>
        handle(message, tx),
      );
    }
    const flows = wireFlows({
      options,
      watchMs: this.#settings.flowWatchMs,
      outcomes: engine === undefined ? outcomes : undefined,
      clock: this.#clock,
      logger: this.#logger,
      run: (work) => this.#run(work, () => undefined),
    });
    this.#watchFlows = flows.watch;
    for (const handler of flows.handlers) {
      // One that cannot be read must not hold up what is heard of other flows, and order says nothing here.
      this.#subscribe(`${options.service}.flows`, { ...handler, whenPoisoned: "skip" });
    }
  }

  /** Of a transaction that is not ours nobody says when it has committed: then soon must do. */
  #callAfterCommit(tx: TransactionHandle, callBack: () => void): void {
    const callBacks = this.#afterCommit.get(tx);
    if (callBacks === undefined) callBack();
    else callBacks.push(callBack);
  }

  /**
   * Runs `work` in a transaction at READ COMMITTED and commits it with the events that it emitted: all of
   * it or nothing. Events are published after the commit, at least once, in the order of commits per key.
   * If the process dies before COMMIT nothing has happened; after it, the events are published by whoever
   * relays next. Do not talk to the network inside.
   *
   * @throws what `work` throws, after the rollback
   * @throws EVENT_INVALID when an event does not fit its schema: rolled back
   * @throws COMMIT_REFUSED when a statement had failed and the error was swallowed: rolled back
   * @throws COMMIT_IN_DOUBT when the connection was lost during COMMIT: look before doing it again
   * @throws DATABASE_UNAVAILABLE when there was no connection, or it was lost before COMMIT
   */
  transaction<Result>(
    work: (tx: ServiceTransaction<Client>) => Promise<Result>,
    options?: TransactionOptions,
  ): Promise<Result> {
    return this.#run(work, () => options?.context);
  }

  #run<Result>(
    work: TransactionParts<Client, Result>["work"],
    context: () => MessageContext | undefined,
    more: Pick<TransactionParts<Client, Result>, "last" | "options" | "isUndone"> = {},
  ): Promise<Result> {
    const { store, service } = this.#options;
    return runInTransaction({
      ...more,
      transactions: store.transactions,
      outbox: store.outbox,
      source: service,
      clock: this.#clock,
      faults: this.#faults,
      context,
      work: (tx, raw, opened) => {
        this.#afterCommit.set(tx, []);
        return work(tx, raw, opened);
      },
      onWritten: () => this.#wakeRelays(),
      onCommitted: (tx) => {
        for (const callBack of this.#afterCommit.get(tx) ?? []) callBack();
      },
    });
  }

  /**
   * Handles an event: once per group in this database, in the order of its key. The dedup record, the
   * handler's writes through `tx` and the events that it emits commit together. Delivery is at least once:
   * what the handler does elsewhere may be done again and needs a key of its own.
   *
   * A handler that throws is tried again with backoff while its key waits; other keys go on. After the
   * last attempt, or a {@link PermanentError}, the message is a dead letter.
   *
   * @throws CONFIGURATION_INVALID after start, or when `retry: "topics"` is to hold a key
   */
  on<Input, Output>(
    definition: EventDefinition<Input, Output>,
    options: OnOptions,
    handler: Handler<Output, Client>,
  ): void {
    if (this.#stop !== undefined) throw misuse("on must be called before start");
    const { retry = "park", whenPoisoned } = options;
    checkRetryPlace(definition.type, { retry, whenPoisoned });
    const group = this.#subscribe(options.group ?? this.#options.service, {
      definition,
      retry,
      whenPoisoned: whenPoisoned ?? (retry === "topics" ? "skip" : "park-key"),
      // The inbox has parsed the data with this very definition, and runs in a transaction of this store.
      handle: handler as unknown as Subscriber["handle"],
    });
    group.from = options.from ?? group.from;
  }

  #subscribe(name: string, subscriber: Subscriber): Group {
    const group: Group = this.#groups.get(name) ?? { name, subscribers: [], from: "earliest" };
    this.#groups.set(name, group);
    group.subscribers.push(subscriber);
    return group;
  }

  /**
   * Checks the schema and begins to relay and to handle. Loops recover by themselves from a lost database
   * or broker.
   * @throws SCHEMA_MISSING, SCHEMA_TOO_NEW, MIGRATION_CHANGED
   * @throws CONFIGURATION_INVALID when a handler wants retry topics and the transport has none
   * @throws DEDUP_HORIZON_TOO_SHORT when a message could come again after its dedup record is gone
   */
  async start(): Promise<void> {
    const { store, transport, service } = this.#options;
    if (this.#stop !== undefined) throw misuse("it has been started before");
    if (transport === undefined && this.#groups.size > 0) throw misuse("handlers need a transport");
    // Set before the first wait: a second start is refused, and a stop that comes meanwhile is not overlooked.
    const stop = new AbortController();
    this.#stop = stop;
    const { signal } = stop;
    try {
      const retryTopics = retryTopicsFor([...this.#groups.values()], transport);
      this.#assertHorizon(transport?.retentionMs, retryTopics);
      await store.check();
      if (this.#settings.relay !== undefined) await store.feed?.prepare();
      await transport?.check();
      // What is there may be kept longer than what the transport would make.
      const topics = topicsOf([...this.#groups.values()].flatMap((group) => group.subscribers));
      this.#assertHorizon(await transport?.retentionOf?.(topics), retryTopics);
    } catch (error) {
      // Nothing has begun: it may be started again, when the schema is there.
      if (!signal.aborted) this.#stop = undefined;
      throw error;
    }
    if (signal.aborted) {
      throw new DureError("STOPPED", `dure: "${service}" was stopped while it started`);
    }
    const loops = [this.#maintain(signal), this.#watch(signal)];
    if (transport !== undefined && this.#settings.relay !== undefined) {
      loops.push(this.#startRelay(signal));
    }
    for (const group of this.#groups.values()) loops.push(this.#startConsumer(group, signal));
    if (this.#sagaEngine !== undefined) loops.push(this.#sagaEngine.run(signal));
    if (this.#watchFlows !== undefined) loops.push(this.#watchFlows(signal));
    this.#loops = Promise.all(loops);
  }

  #assertHorizon(transportMs: number | undefined, retryTopics: RetryTopics | undefined): void {
    if (this.#groups.size === 0) return;
    assertDedupHorizon({
      service: this.#options.service,
      inboxMs: this.#options.store.retention?.inboxMs,
      transportMs,
      retry: this.#settings.consumer.retry,
      retryDelaysMs: retryTopics?.delaysMs ?? [],
      redriveWindowMs: this.#settings.redriveWindowMs,
    });
  }

  #maintain(signal: AbortSignal): Promise<void> {
    const { store, transport } = this.#options;
    const tasks = [
      () => store.maintain(signal),
      () => transport?.maintain?.(signal) ?? Promise.resolve(),
    ];
    return runMaintenance({ tasks, clock: this.#clock, logger: this.#logger }, signal);
  }

  #watch(signal: AbortSignal): Promise<void> {
    const { store, service } = this.#options;
    const limits = this.#settings.backlog;
    const parts = { service, admin: store.admin, limits, clock: this.#clock, logger: this.#logger };
    return watchBacklog(parts, signal);
  }

  #startRelay(signal: AbortSignal): Promise<void> {
    const { store, transport, service } = this.#options;
    const settings = this.#settings.relay;
    if (transport === undefined || settings === undefined) return Promise.resolve();
    const { relay, done } = startRelay(
      {
        source: service,
        store,
        publisher: transport,
        settings,
        clock: this.#clock,
        logger: this.#logger,
        faults: this.#faults,
        onPublished: (count) => {
          this.#published += count;
        },
      },
      signal,
    );
    this.#relay = relay;
    return done;
  }

  #startConsumer(group: Group, signal: AbortSignal): Promise<void> {
    const { store, transport, contracts } = this.#options;
    if (transport === undefined) return Promise.resolve();
    const wiring = {
      store,
      transport,
      contracts,
      settings: this.#settings.consumer,
      transaction: (work, context) => this.#run(work, context),
      clock: this.#clock,
      logger: this.#logger,
      faults: this.#faults,
    } satisfies ConsumerWiring;
    return startConsumer(group, wiring, signal);
  }

  /** A feed brings the events themselves. */
  #wakeRelays(): void {
    if (this.#options.store.feed !== undefined) return;
    this.#relay?.wake();
    if (this.#relay?.isAlone !== true) this.#options.store.news.tell();
  }

  /**
   * Stops taking, finishes or hands back what is under way, and resolves to whether all of it was done
   * within `withinMs` (default 10,000). What was not done is done again by whoever comes next. Close
   * the transport and end your pools afterwards, in this order: both are yours.
   */
  async stop(options?: { readonly withinMs?: number }): Promise<boolean> {
    this.#stop ??= new AbortController();
    this.#stop.abort();
    const closing = Promise.all([this.#loops, this.#closeSemaphores()]).then(() =>
      this.#options.store.close(),
    );
    const isDone = await settledWithin(closing, options?.withinMs ?? 10_000);
    if (!isDone)
      this.#logger.warn("stopped before everything under way was finished; it will be done again", {
        service: this.#options.service,
      });
    return isDone;
  }

  /** How it stands: backlog, dead letters, order. Cheap enough to be asked every few seconds. */
  async status(): Promise<DureStatus> {
    const order = [...this.#groups.values()].flatMap(({ name, inbox }) =>
      inbox === undefined ? [] : [[name, inbox.orderCounts] as const],
    );
    return {
      ...(await this.#options.store.admin.status()),
      isRunning: this.#stop !== undefined && !this.#stop.signal.aborted,
      published: this.#published,
      order: Object.fromEntries(order),
    };
  }
}

/**
 * Makes the consistency layer of one service from what you hand it: a store on your database, and a
 * transport. Nothing runs before {@link Dure.start}.
 * @throws CONFIGURATION_INVALID naming every mistake at once
 */
export function createDure<Client>(options: DureOptions<Client>): Dure<Client> {
  return new Dure(options);
}
