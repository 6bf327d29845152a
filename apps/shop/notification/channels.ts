import type { Clock } from "dure";
import type { Logger } from "pino";
import type { ParticipantFaultInjector } from "../chassis/participant-faults.ts";
import type { Channel } from "./domain.ts";

/** One message to one person. */
export interface Letter {
  /** Sent again with the same key, it is the same letter: a channel drops the copy. */
  readonly key: string;
  readonly recipient: string;
  readonly body: string;
}

/** A way out of the shop. */
export interface SendChannel {
  /**
   * `refused`: it will never take this letter.
   *
   * @throws Error when it could not be sent now; whether it was is unknown then
   */
  send(letter: Letter, signal: AbortSignal): Promise<"sent" | "refused">;
}

/** A channel to every kind. */
export type SendChannels = Readonly<Record<Channel, SendChannel>>;

/** What the fake channels need. */
export interface FakeChannelsOptions {
  readonly faults: ParticipantFaultInjector;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Channels that send nothing to nobody, with faults to order. */
export function createFakeChannels(options: FakeChannelsOptions): SendChannels {
  return { SMS: createFakeChannel("SMS", options), EMAIL: createFakeChannel("EMAIL", options) };
}

function createFakeChannel(name: Channel, options: FakeChannelsOptions): SendChannel {
  const { faults, clock, logger } = options;
  return {
    async send({ key }, signal) {
      const mishap = faults.next();
      if (mishap.latencyMs > 0) await clock.sleep(mishap.latencyMs, signal);
      signal.throwIfAborted();
      if (mishap.kind === "failure") throw new Error(`the ${name} channel did not answer`);
      if (mishap.kind === "refusal") return "refused";
      logger.debug({ channel: name, key }, "sent");
      return "sent";
    },
  };
}
