/** What the scenarios of law O2 see of an outbox, be it Dure's or one of the naive designs beside this file. */
import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";

/** An outbox with its relay. */
export interface OutboxDesign {
  /** The table in which its events stand. */
  readonly table: string;
  /** Writes events in the client's open transaction. */
  write(client: pg.PoolClient, events: readonly Step[]): Promise<void>;
  /** Resolves when the relay has looked at all that was committed before the call and has sent what it will. */
  settle(): Promise<void>;
  /** All that was sent so far, in the order of sending, copies included. */
  sent(): Promise<readonly Step[]>;
}

/** A relay that stands still with a batch in its hands. */
export interface HeldRelay {
  /** Resolves when it is about to send its first batch, and does not. */
  readonly isHolding: Promise<void>;
  /** Lets it go on; resolves when it has sent, or refused to send, what it held. */
  release(): Promise<void>;
}

/** A relay beside the held one. */
export interface FreeRelay {
  /** Resolves when it has looked for work while the other held its batch, and has sent what it may. */
  look(): Promise<void>;
  /** Resolves when nothing is left to send, once the other's claims have run out. */
  drain(): Promise<void>;
}

/** An outbox whose relays are started one by one, in batches of five. */
export interface RelayedOutbox extends Pick<OutboxDesign, "write" | "sent"> {
  /** With `isFrozen` its process does nothing else while it stands still: it renews no lease. */
  startHeldRelay(options: { readonly isFrozen: boolean }): Promise<HeldRelay>;
  startFreeRelay(): Promise<FreeRelay>;
}

/** What a relay's poll found, and what it makes of it. */
export type Poll = () => Promise<readonly Step[]>;

/** More than any scenario needs: a relay that finds something new for ever is a mistake of the test. */
const pollsMax = 10_000;

/** The relay that all naive cursor designs share: it polls until nothing comes any more. */
export function pollingRelay(poll: Poll): Pick<OutboxDesign, "settle" | "sent"> {
  const sent: Step[] = [];
  return {
    async settle() {
      for (let polls = 0; polls < pollsMax; polls += 1) {
        const found = await poll();
        sent.push(...found);
        if (found.length === 0) return;
      }
      throw new Error(`still finding events after ${pollsMax} polls`);
    },
    sent: () => Promise.resolve(sent),
  };
}
