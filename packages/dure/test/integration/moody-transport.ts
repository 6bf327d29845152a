/** A transport whose broker takes what it likes, for the tests of what the relay makes of its answers. */
import { keyOf } from "../../src/core/message.ts";
import type { Message, PublishOutcome, Transport } from "../../src/index.ts";

/** What the broker says of a message. Read for each message of each publication. */
export type Mood = (message: Message) => PublishOutcome | undefined;

/** Given up at once. */
export const refusedForGood: PublishOutcome = {
  kind: "refused",
  code: "TOO_LARGE",
  error: "the broker does not like it",
  isPermanent: true,
};

/** The real transport behind a broker that answers as `mood` says (accepts by default), and the later ones of a key like the first that it did not accept. */
export function moodyTransport<Inner extends Transport>(inner: Inner, mood: Mood): Inner {
  return {
    ...inner,
    async publish(messages, options) {
      const stopped = new Map<string, PublishOutcome>();
      const outcomes = messages.map((message): PublishOutcome => {
        const key = keyOf(message);
        const outcome = stopped.get(key) ?? mood(message) ?? { kind: "accepted" };
        if (outcome.kind !== "accepted") stopped.set(key, outcome);
        return outcome;
      });
      await inner.publish(
        messages.filter((_message, index) => outcomes[index]?.kind === "accepted"),
        options,
      );
      return outcomes;
    },
  };
}
