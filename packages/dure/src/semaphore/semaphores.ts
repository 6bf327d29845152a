import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { SemaphoreBusyError } from "./semaphore-error.ts";
import { SemaphoreMembership } from "./semaphore-membership.ts";
import type { Admission, Place, SemaphoreSettings } from "./semaphore-membership.ts";
import type { SemaphoreSize, SemaphoreStore } from "./semaphore-store.ts";

/** How many may be at it at once, and who waits for how long. */
export interface PermitOptions {
  /** Over all processes of this database: 1 to 10000. Everyone who uses the name says the same. */
  readonly permits: number;
  /** How many may wait in line, over all processes: 0 to 100000. One more is refused at once. */
  readonly lineMax: number;
  /** How long to wait for a permit, in milliseconds: 0 (only if one is free) to an hour. @defaultValue 5000 */
  readonly waitMs?: number;
  /** Ends the wait, and is passed on to the work. */
  readonly signal?: AbortSignal;
}

/** What the work under a permit gets. */
export interface PermitContext {
  /** Aborts when the permit is lost (`PERMIT_LOST`) or the caller's signal does. Pass it on to every call. */
  readonly signal: AbortSignal;
}

/** A permit that is held. Disposing gives it back. */
export interface Permit extends PermitContext, AsyncDisposable {
  /** From the call until it was had, in milliseconds. */
  readonly waitedMs: number;
  /** Gives it back, and the first of the line has it. Twice is once. Never rejects: at worst the lease does it. */
  release(): Promise<void>;
}

/** What a process has seen of a semaphore since it started. */
export interface SemaphoreCounts {
  readonly granted: number;
  /** Of those, granted after a wait in line. */
  readonly waited: number;
  readonly waitedMsTotal: number;
  readonly waitedMsMax: number;
  /** Refused because the line was full. */
  readonly shed: number;
  /** Refused because none came free in time. */
  readonly timedOut: number;
  /** Permits that were lost while they were held. */
  readonly lost: number;
}

/**
 * N permits over all processes of a database, and a bounded line in front of them: for a dependency that takes so many
 * requests at once.
 *
 * First come, first served, over all processes; nobody who comes later is served before the line. No transaction and no
 * connection is held while one waits or works. If the process dies, its permits and its places in line are
 * others' when its lease is over (10 s by default, on the database's clock). While its event loop runs, the
 * signal aborts before that; a process that was frozen for longer may have a call under way that nobody counts any more.
 */
export interface Semaphores {
  /**
   * Runs the work under a permit and gives it back, whatever comes of it. Resolves to what the work resolves
   * to, and rejects with what it rejects with.
   *
   * @throws SEMAPHORE_LINE_FULL, PERMIT_TIMED_OUT ({@link SemaphoreBusyError}): nothing was begun
   * @throws PERMIT_LOST when an operator took the place in line away
   * @throws STOPPED when the service was stopped
   * @throws CONFIGURATION_INVALID when an option cannot be used, or another call of this process says other numbers
   * @throws DATABASE_UNAVAILABLE, SCHEMA_MISSING when it could not be asked for: nothing was begun
   * @throws the signal's reason when it aborted during the wait
   */
  withPermit<Result>(
    name: string,
    options: PermitOptions,
    work: (context: PermitContext) => Promise<Result>,
  ): Promise<Result>;
  /** A permit to be given back by `await using` or {@link Permit.release}. Throws as {@link Semaphores.withPermit}. */
  acquire(name: string, options: PermitOptions): Promise<Permit>;
  /** What this process has seen since it started, by semaphore. */
  counts(): Readonly<Record<string, SemaphoreCounts>>;
}

/** What semaphores are made of. */
export interface SemaphoreParts {
  readonly store: SemaphoreStore;
  /** Shown to operators beside its places. */
  readonly process: string;
  readonly settings: SemaphoreSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Semaphores that can be closed: then nothing is granted any more, and what is held is waited for. */
export interface ClosableSemaphores extends Semaphores {
  close(): Promise<void>;
}

type CheckedOptions = Required<PermitOptions>;

const neverAborted: AbortSignal = new AbortController().signal;
const waitMsDefault = 5_000;
/** Each try that ends so early has lost a lease, or found the semaphore gone. */
const triesMax = 20;

/** One process's use of the semaphores of a database. */
export function createSemaphores(parts: SemaphoreParts): ClosableSemaphores {
  return new ProcessSemaphores(parts);
}

class ProcessSemaphores implements ClosableSemaphores {
  readonly #parts: SemaphoreParts;
  readonly #sizes: Map<string, SemaphoreSize> = new Map();
  readonly #declared: Map<string, Promise<void>> = new Map();
  readonly #counts: Map<string, { -readonly [K in keyof SemaphoreCounts]: number }> = new Map();
  readonly #stop: AbortController = new AbortController();
  readonly #held: Set<Promise<unknown>> = new Set();
  #membership: SemaphoreMembership | undefined;
  #joining: Promise<SemaphoreMembership> | undefined;
  #stopListening: (() => void) | undefined;

  constructor(parts: SemaphoreParts) {
    this.#parts = parts;
  }

  async withPermit<Result>(
    name: string,
    options: PermitOptions,
    work: (context: PermitContext) => Promise<Result>,
  ): Promise<Result> {
    await using permit = await this.acquire(name, options);
    return await work({ signal: permit.signal });
  }

  async acquire(name: string, options: PermitOptions): Promise<Permit> {
    const asked = this.#check(name, options);
    const { clock } = this.#parts;
    const startedAt = clock.monotonic();
    const signal = AbortSignal.any([asked.signal, this.#stop.signal]);
    for (let tries = 0; tries < triesMax; tries += 1) {
      signal.throwIfAborted();
      await this.#declare(name, asked);
      const membership = await this.#join();
      const waitedMs = clock.monotonic() - startedAt;
      const waitMs = Math.max(asked.waitMs - waitedMs, 0);
      const admission = await membership.acquire(name, { waitMs, signal });
      if (admission.kind === "held") {
        const permit = this.#permit(membership, admission, { asked, startedAt });
        if (!signal.aborted) return permit;
        await permit.release();
      } else if (admission.kind === "undeclared") {
        this.#declared.delete(name);
      } else if (admission.kind !== "fenced" && admission.kind !== "aborted") {
        throw this.#refusal(name, admission, clock.monotonic() - startedAt);
      }
    }
    throw new DureError(
      "DATABASE_UNAVAILABLE",
      `semaphore "${name}": the lease is lost again and again`,
    );
  }

  counts(): Readonly<Record<string, SemaphoreCounts>> {
    return Object.fromEntries(
      [...this.#counts].map(([name, counts]) => [name, { ...counts }] as const),
    );
  }

  async close(): Promise<void> {
    this.#stop.abort(new DureError("STOPPED", "semaphores: the service was stopped"));
    while (this.#held.size > 0) await Promise.all(this.#held);
    await this.#joining?.catch(() => undefined);
    await this.#membership?.end();
    this.#stopListening?.();
  }

  #permit(
    membership: SemaphoreMembership,
    { place, hasWaited }: Admission & { readonly kind: "held" },
    { asked, startedAt }: { readonly asked: CheckedOptions; readonly startedAt: number },
  ): Permit {
    const waitedMs = this.#parts.clock.monotonic() - startedAt;
    const counts = this.#countsOf(place.name);
    counts.granted += 1;
    if (hasWaited) counts.waited += 1;
    counts.waitedMsTotal += waitedMs;
    counts.waitedMsMax = Math.max(counts.waitedMsMax, waitedMs);
    const given = Promise.withResolvers<void>();
    this.#held.add(given.promise);
    let releasing: Promise<void> | undefined;
    const release = (): Promise<void> =>
      (releasing ??= this.#giveBack(membership, place).finally(() => {
        this.#held.delete(given.promise);
        given.resolve();
      }));
    return {
      // Not the service's own stop: what is under way is finished.
      signal: AbortSignal.any([asked.signal, place.lost.signal]),
      waitedMs,
      release,
      [Symbol.asyncDispose]: release,
    };
  }

  async #giveBack(membership: SemaphoreMembership, place: Place): Promise<void> {
    if (place.lost.signal.aborted) this.#countsOf(place.name).lost += 1;
    else await membership.release(place);
  }

  #refusal(
    semaphore: string,
    admission: Exclude<Admission, { readonly kind: "held" }>,
    waitedMs: number,
  ): DureError {
    const counts = this.#countsOf(semaphore);
    if (admission.kind === "full") {
      counts.shed += 1;
      const { waiting: lineLength } = admission;
      const facts = { semaphore, position: lineLength + 1, lineLength, waitedMs };
      return new SemaphoreBusyError("SEMAPHORE_LINE_FULL", facts);
    }
    if (admission.kind === "timed-out" || admission.kind === "busy") {
      counts.timedOut += 1;
      const position = "position" in admission ? admission.position : admission.waiting + 1;
      const facts = { semaphore, position, lineLength: position - 1, waitedMs };
      return new SemaphoreBusyError("PERMIT_TIMED_OUT", facts);
    }
    const what = `semaphore "${semaphore}": an operator has taken the place in line away; nothing was begun`;
    return new DureError("PERMIT_LOST", what);
  }

  /** Once per process and name: of two versions of the code, the one that came last wins. */
  async #declare(name: string, { permits, lineMax }: SemaphoreSize): Promise<void> {
    const { store } = this.#parts;
    let declared = this.#declared.get(name);
    if (declared === undefined) {
      declared = store.declare(name, { permits, lineMax }).then(({ woken }) => store.tell(woken));
      this.#declared.set(name, declared);
      declared.catch(() => this.#declared.delete(name));
    }
    await declared;
  }

  /** A membership with enough of its lease left to begin something under it. */
  #join(): Promise<SemaphoreMembership> {
    const current = this.#membership;
    const { leaseMs } = this.#parts.settings;
    if (current !== undefined && !current.isEnded && current.msLeft > leaseMs / 3) {
      return Promise.resolve(current);
    }
    this.#joining ??= this.#renewOrJoin().finally(() => {
      this.#joining = undefined;
    });
    return this.#joining;
  }

  async #renewOrJoin(): Promise<SemaphoreMembership> {
    const { store, process, settings, clock } = this.#parts;
    const current = this.#membership;
    if (current !== undefined && !current.isEnded && (await current.renew())) return current;
    const askedAt = clock.monotonic();
    const member = await store.join(process, settings.leaseMs);
    const membership = new SemaphoreMembership({ ...this.#parts, member }, askedAt);
    this.#membership = membership;
    this.#stopListening ??= store.listen((members) => this.#membership?.hear(members));
    return membership;
  }

  #countsOf(name: string): { -readonly [K in keyof SemaphoreCounts]: number } {
    const known = this.#counts.get(name);
    if (known !== undefined) return known;
    const none = {
      granted: 0,
      waited: 0,
      waitedMsTotal: 0,
      waitedMsMax: 0,
      shed: 0,
      timedOut: 0,
      lost: 0,
    };
    this.#counts.set(name, none);
    return none;
  }

  #check(name: string, options: PermitOptions): CheckedOptions {
    const { permits, lineMax, waitMs = waitMsDefault, signal = neverAborted } = options;
    const problems: string[] = [];
    if (typeof name !== "string" || !/^[\x21-\x7e]{1,100}$/.test(name)) {
      problems.push("name: must be 1 to 100 visible ASCII characters without spaces");
    }
    const range = (what: string, value: number, min: number, max: number): void => {
      if (Number.isInteger(value) && value >= min && value <= max) return;
      problems.push(`${what}: must be a whole number from ${min} to ${max}, got ${String(value)}`);
    };
    range("permits", permits, 1, 10_000);
    range("lineMax", lineMax, 0, 100_000);
    range("waitMs", waitMs, 0, 3_600_000);
    const size = this.#sizes.get(name) ?? { permits, lineMax };
    if (size.permits !== permits || size.lineMax !== lineMax) {
      problems.push(
        `permits and lineMax: this process has used ${size.permits} and ${size.lineMax} before; say it in one place`,
      );
    }
    if (problems.length > 0) {
      throw new DureError("CONFIGURATION_INVALID", `semaphore "${name}": ${problems.join("; ")}`);
    }
    this.#sizes.set(name, size);
    return { permits, lineMax, waitMs, signal };
  }
}
