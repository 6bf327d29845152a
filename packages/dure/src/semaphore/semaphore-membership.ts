import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import type { Clock } from "../core/clock.ts";
import { describeError, DureError } from "../core/errors.ts";
import { newId } from "../core/id.ts";
import type { Logger } from "../core/logger.ts";
import { createTrouble } from "../core/trouble.ts";
import type { Trouble } from "../core/trouble.ts";
import type { OwnPlace, PlaceAnswer, SemaphoreStore } from "./semaphore-store.ts";

/** How a process keeps its permits and looks for them. */
export interface SemaphoreSettings {
  /** How long the permits of a process that died stay with it. @defaultValue 10000 */
  readonly leaseMs: number;
  /** How soon a process that waits looks again by itself at first. @defaultValue 5 */
  readonly pollMsMin: number;
  /** And at the latest. @defaultValue 250 */
  readonly pollMsMax: number;
}

/** What a membership is made of. */
export interface SemaphoreMembershipParts {
  readonly store: SemaphoreStore;
  readonly member: number;
  readonly settings: SemaphoreSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What became of a request; a held place is given back with {@link SemaphoreMembership.release}. */
export type Admission =
  | { readonly kind: "held"; readonly place: Place; readonly hasWaited: boolean }
  | { readonly kind: "timed-out"; readonly position: number }
  | { readonly kind: "busy" | "full"; readonly waiting: number }
  /** Ask again: as another member, or after declaring the semaphore. */
  | { readonly kind: "fenced" | "undeclared" | "aborted" | "taken-away" };

/** A permit or a place in the line, as this process knows it. */
export interface Place {
  readonly name: string;
  readonly key: string;
  /** Aborts when the permit is another's. */
  readonly lost: AbortController;
  /** Asked: not answered yet. Leaving: it is being given back. */
  state: "asked" | "waiting" | "held" | "leaving";
  /** Looks that began after this one must find it. */
  knownSince: number;
  decide(how: "held" | "lost" | "taken-away"): void;
  readonly decided: Promise<"held" | "lost" | "taken-away">;
}

/** A tenth of the lease before its end the signals abort: so long has whoever holds a permit to let go of it. */
const marginShare = 0.1;

/**
 * One incarnation of a process among those that share semaphores: its lease, and the places that stand and fall
 * with it. It renews the lease and looks only while it has places.
 */
export class SemaphoreMembership {
  readonly #parts: SemaphoreMembershipParts;
  readonly #places: Map<string, Place> = new Map();
  readonly #wakeup: Wakeup = createWakeup();
  readonly #trouble: Trouble;
  /** While there are places. */
  #activity: AbortController | undefined;
  #leaseUntil: number;
  #beatAt: number;
  #lookCount = 0;
  #isEnded = false;

  /** `askedAt`: by the monotonic clock, before the store was asked for the membership. */
  constructor(parts: SemaphoreMembershipParts, askedAt: number) {
    const { clock, logger, member, settings } = parts;
    this.#parts = parts;
    this.#leaseUntil = askedAt + settings.leaseMs;
    this.#beatAt = askedAt + settings.leaseMs / 3;
    this.#trouble = createTrouble({
      clock,
      settleMs: settings.leaseMs,
      say: (error) => logger.warn("semaphores cannot be looked after", facts(member, error)),
      sayOver: () => logger.info("semaphores are looked after again", { member }),
    });
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Until its signals abort, counted from before the lease was asked for. */
  get msLeft(): number {
    const { leaseMs } = this.#parts.settings;
    return this.#leaseUntil - leaseMs * marginShare - this.#parts.clock.monotonic();
  }

  get placeCount(): number {
    return this.#places.size;
  }

  /** News: a permit was granted here, or taken away. */
  hear(members: readonly number[]): void {
    if (members.includes(this.#parts.member)) this.#wakeup.wake();
  }

  /** Renews the lease. False: this membership is over. */
  async renew(): Promise<boolean> {
    const { store, member, settings, clock } = this.#parts;
    const askedAt = clock.monotonic();
    const isHeld = await store.beat(member, settings.leaseMs);
    if (!isHeld) this.lose("it was fenced: its lease had run out");
    if (this.#isEnded) return false;
    this.#leaseUntil = askedAt + settings.leaseMs;
    this.#beatAt = askedAt + settings.leaseMs / 3;
    return true;
  }

  /** Takes a permit, or waits for one in line. Bounded by `waitMs` and the store's answers. */
  async acquire(
    name: string,
    { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
  ): Promise<Admission> {
    const place = this.#add(name);
    const answer = await this.#ask(place, waitMs > 0);
    const { kind, waiting } = answer;
    if (kind === "fenced") this.lose("it was fenced: its lease had run out");
    if (!this.#mayHold()) return { kind: "fenced" };
    if (kind !== "held" && kind !== "waiting") {
      this.#forget(place);
      return kind === "busy" || kind === "full" ? { kind, waiting } : { kind: "undeclared" };
    }
    place.knownSince = this.#lookCount;
    place.state = kind;
    if (kind === "held") return { kind, place, hasWaited: false };
    this.#wakeup.wake();
    return this.#wait(place, { position: waiting + 1, waitMs, signal });
  }

  /** Gives a permit back. Never rejects: what could not be said now is mended by a look, or by the lease. */
  async release(place: Place): Promise<void> {
    await this.#leave(place, false);
  }

  /** The permits are others', or may be at any moment: everything that goes on under them is to stop. */
  lose(why: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const { logger, member } = this.#parts;
    const held = [...this.#places.values()].filter(({ state }) => state === "held").length;
    logger.warn("this process has lost its permits; it joins anew", { member, held, why });
    for (const place of this.#places.values()) {
      place.lost.abort(permitLost(place.name, why));
      place.decide("lost");
    }
    this.#places.clear();
    this.#rest();
  }

  /** Gives everything up. Never rejects. */
  async end(): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#rest();
    const { store, member } = this.#parts;
    await store.leave(member).then(
      ({ woken }) => store.tell(woken),
      (error: unknown) => this.#trouble.failed(error),
    );
  }

  async #ask(place: Place, mayWait: boolean): Promise<PlaceAnswer> {
    const { store, member } = this.#parts;
    const { name, key } = place;
    try {
      const answer = await store.acquire({ name, member, key, mayWait });
      this.#tell(answer.woken);
      return answer;
    } catch (error) {
      // It may have a place after all: unknown here, it is released by a look.
      this.#forget(place);
      throw error;
    }
  }

  async #wait(
    place: Place,
    bounds: { readonly position: number; readonly waitMs: number; readonly signal: AbortSignal },
  ): Promise<Admission> {
    const { position, waitMs, signal } = bounds;
    const served = new AbortController();
    const timeOver = this.#parts.clock
      .sleep(waitMs, AbortSignal.any([signal, served.signal]))
      .then(() => "over" as const);
    const how = await Promise.race([place.decided, timeOver]);
    served.abort();
    if (how === "lost") return { kind: "fenced" };
    if (how === "taken-away") return { kind: "taken-away" };
    if (how === "held") return this.#held(place);
    if (signal.aborted) {
      await this.#leave(place, false);
      return { kind: "aborted" };
    }
    // Granted at the last moment is granted.
    if (await this.#leave(place, true)) return { kind: "timed-out", position };
    return this.#held(place);
  }

  #held(place: Place): Admission {
    return this.#mayHold() ? { kind: "held", place, hasWaited: true } : { kind: "fenced" };
  }

  /** Whoever was frozen may read an answer before the guard's timer runs: nothing begins under a lease that is over. */
  #mayHold(): boolean {
    if (this.msLeft <= 0) this.lose("its lease could not be renewed in time");
    return !this.#isEnded;
  }

  /** Resolves to whether the place is gone; with `onlyWaiting` it may have been granted, and is held. */
  async #leave(place: Place, onlyWaiting: boolean): Promise<boolean> {
    const { store, member } = this.#parts;
    const { name, key } = place;
    if (this.#isEnded || place.state === "leaving") return true;
    place.state = "leaving";
    try {
      const { isGone, woken } = await store.release({ name, member, key, onlyWaiting });
      this.#tell(woken);
      if (isGone) this.#forget(place);
      else place.state = "held";
      return isGone;
    } catch (error) {
      this.#trouble.failed(error);
      this.#forget(place);
      return true;
    }
  }

  #add(name: string): Place {
    const { promise, resolve } = Promise.withResolvers<"held" | "lost" | "taken-away">();
    const place: Place = {
      name,
      key: newId(this.#parts.clock),
      lost: new AbortController(),
      state: "asked",
      knownSince: Number.POSITIVE_INFINITY,
      decide: resolve,
      decided: promise,
    };
    this.#places.set(place.key, place);
    if (this.#activity === undefined) {
      const { signal } = (this.#activity = new AbortController());
      void this.#lookAfter(signal);
      void this.#guard(signal);
    }
    return place;
  }

  #forget(place: Place): void {
    this.#places.delete(place.key);
    if (this.#places.size === 0) this.#rest();
  }

  #rest(): void {
    this.#activity?.abort();
    this.#activity = undefined;
  }

  /** Renews, looks, and waits for news, while there are places. */
  async #lookAfter(signal: AbortSignal): Promise<void> {
    const { settings, clock } = this.#parts;
    let pauseMs = settings.pollMsMin;
    while (!signal.aborted) {
      const isDue = this.#beatAt <= clock.monotonic();
      try {
        if (isDue && !(await this.renew())) return;
        if (isDue || this.#hasWaiting) await this.#look();
        this.#trouble.succeeded();
      } catch (error) {
        this.#trouble.failed(error);
        if (isDue) this.#beatAt = clock.monotonic() + settings.leaseMs / 30;
      }
      const beatInMs = Math.max(this.#beatAt - clock.monotonic(), 1);
      const restMs = this.#hasWaiting ? Math.min(pauseMs, beatInMs) : beatInMs;
      const how = await this.#wakeup.wait(restMs, signal);
      if (how === "woken" && !this.#hasWaiting) this.#beatAt = clock.monotonic();
      pauseMs = how === "woken" ? settings.pollMsMin : Math.min(pauseMs * 2, settings.pollMsMax);
    }
  }

  get #hasWaiting(): boolean {
    return this.#places.values().some(({ state }) => state === "waiting");
  }

  /** In a loop of its own: a statement that hangs must not keep signals from aborting in time. */
  async #guard(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { msLeft } = this;
      if (msLeft <= 0) return this.lose("its lease could not be renewed in time");
      await this.#parts.clock.sleep(msLeft, signal);
    }
  }

  async #look(): Promise<void> {
    const { store, member } = this.#parts;
    const look = (this.#lookCount += 1);
    const { places, woken } = await store.look(member);
    this.#tell(woken);
    const found = new Map(places.map((each) => [each.key, each]));
    for (const place of this.#places.values()) {
      const isHeld = found.get(place.key)?.isHeld;
      if (isHeld === true && place.state === "waiting") {
        place.state = "held";
        place.decide("held");
      } else if (isHeld === undefined && place.knownSince < look) this.#takenAway(place);
    }
    await this.#releaseStrays(places);
  }

  #takenAway(place: Place): void {
    // One that is being given back is gone for that reason.
    if (place.state === "leaving") return;
    place.lost.abort(permitLost(place.name, "an operator has taken it away"));
    place.decide("taken-away");
    this.#forget(place);
  }

  /** Places whose answer was lost on its way here. */
  async #releaseStrays(places: readonly OwnPlace[]): Promise<void> {
    const { store, member } = this.#parts;
    for (const { name, key } of places) {
      if (this.#isEnded || this.#places.has(key)) continue;
      const { woken } = await store.release({ name, member, key, onlyWaiting: false });
      this.#tell(woken);
    }
  }

  #tell(woken: readonly number[]): void {
    const { store, member } = this.#parts;
    if (woken.includes(member)) this.#wakeup.wake();
    store.tell(woken.filter((each) => each !== member));
  }
}

function permitLost(name: string, why: string): DureError {
  return new DureError(
    "PERMIT_LOST",
    `semaphore "${name}": the permit is not held any more: ${why}. What was sent under it may still be under way`,
  );
}

function facts(
  member: number,
  error: unknown,
): { readonly member: number; readonly error: string } {
  return { member, error: describeError(error) };
}
