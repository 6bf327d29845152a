/** What happens to a service's relays and sessions while the stress run writes: they come, go, freeze and are killed. */
import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import type { ChildPlan } from "../crash/service-child.ts";
import { walOf, type WalKind } from "../support/wal-options.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import { randomFrom } from "./hostile-writers.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

/** What the disturbances need to know. */
export interface DisturbancesOptions {
  readonly pool: pg.Pool;
  /** Its sessions, named `stress admin`, are left alone. */
  readonly admin: pg.Pool;
  readonly url: string;
  readonly seed: number;
  /** How often something happens: 1 for a run of seconds, more for longer ones. */
  readonly calm: number;
  /** Its relays read the write-ahead log: the outbox's rows there, or messages that stand nowhere else. */
  readonly wal?: WalKind | undefined;
}

/** What has happened so far. */
export interface DisturbanceCounts {
  readonly relaysStarted: number;
  readonly sessionsKilled: number;
  readonly freezes: number;
}

const leaseMs = 1_000;

/** Disturbs until it is told to stop. The relays that are there then go on until it is disposed of. */
export class Disturbances {
  readonly #options: DisturbancesOptions;
  readonly #over: AbortController = new AbortController();
  readonly #relays: TestService[] = [];
  readonly #done: Promise<unknown>;
  readonly #counts: { -readonly [Count in keyof DisturbanceCounts]: number } = {
    relaysStarted: 0,
    sessionsKilled: 0,
    freezes: 0,
  };

  constructor(options: DisturbancesOptions) {
    this.#options = options;
    const loops = [this.#relaysComeAndGo(), this.#relaysFreezeAndDie(), this.#sessionsAreKilled()];
    this.#done = Promise.all(loops);
    this.#done.catch(() => {}); // seen by whoever stops them
  }

  get counts(): DisturbanceCounts {
    return this.#counts;
  }

  /** Resolves when it is calm again. */
  async stop(): Promise<void> {
    this.#over.abort();
    await this.#done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop().catch(() => {}); // whoever stopped it has seen why
    for (const relay of this.#relays) await relay.stop();
  }

  /** One relay comes and the oldest goes, again and again. */
  async #relaysComeAndGo(): Promise<void> {
    const random = randomFrom(this.#options.seed);
    await this.#startRelay(200);
    while (!this.#over.signal.aborted) {
      await this.#startRelay(1 + Math.floor(random() * 400));
      await this.#pause(1_000);
      if (this.#relays.length > 1) await this.#relays.shift()?.stop();
    }
  }

  async #startRelay(batchSizeMax: number): Promise<void> {
    const relay = createTestService({
      pool: this.#options.pool,
      relay: { leaseMs, batchSizeMax, pollMsMax: 100 },
      wal: walOf(this.#options.wal, this.#options.url),
    });
    try {
      await relay.dure.start();
      this.#relays.push(relay);
      this.#counts.relaysStarted += 1;
    } catch {
      // Its session was killed while it started: the next one will do.
      await relay.stop();
    }
  }

  /** A relay in a process of its own freezes past its lease, thaws, and in the end is killed; then another. */
  async #relaysFreezeAndDie(): Promise<void> {
    while (!this.#over.signal.aborted) {
      // Undefined when its session was killed while it started.
      await using child = await this.#startRelayProcess().catch(() => undefined);
      for (let freeze = 0; freeze < 3 && child !== undefined; freeze += 1) {
        await this.#pause(500);
        child.kill("SIGSTOP");
        this.#counts.freezes += 1;
        await delay(leaseMs * 1.5);
        child.kill("SIGCONT");
      }
      await this.#pause(500);
    }
  }

  async #startRelayProcess(): Promise<SpawnedChild> {
    const { url, wal } = this.#options;
    const plan: ChildPlan = { url, relays: true, batchSizeMax: 100, wal };
    const child = spawnChild(new URL("../crash/service-child.ts", import.meta.url), {
      env: { DURE_CHILD_PLAN: JSON.stringify(plan) },
      lifeMsMax: 3_600_000,
    });
    await child.waitForMessage(hasField("event"), { timeoutMs: 60_000 });
    this.#counts.relaysStarted += 1;
    return child;
  }

  async #sessionsAreKilled(): Promise<void> {
    while (!this.#over.signal.aborted) {
      const { rowCount } = await this.#options.admin.query(
        `select pg_terminate_backend(pid) from (
           select pid from pg_stat_activity
           where datname = current_database() and backend_type = 'client backend' and application_name <> 'stress admin'
             -- Not while it is still starting: it has no name yet, and may be the admin's.
             and backend_start < clock_timestamp() - interval '100 ms'
           order by random() limit 1
         ) any_session`,
      );
      this.#counts.sessionsKilled += rowCount ?? 0;
      await this.#pause(400);
    }
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#over;
    await delay(ms * this.#options.calm, undefined, { signal }).catch(() => {}); // woken early is fine
  }
}
