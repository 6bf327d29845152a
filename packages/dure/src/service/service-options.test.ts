/** Bad configuration is refused at once, with every mistake named (law X1). */
import { describe, expect, it } from "vitest";
import { isDureError } from "../core/errors.ts";
import { readOptions } from "./service-options.ts";
import type { DureOptions } from "./service-options.ts";

// Only looked at for being there.
const store = {} as DureOptions["store"];

function refusal(options: unknown): string {
  try {
    readOptions(options as DureOptions);
  } catch (error) {
    if (isDureError(error, "CONFIGURATION_INVALID")) return error.message;
    throw error;
  }
  return "accepted";
}

describe("the options of a service", () => {
  it("have defaults", () => {
    const { relay, consumer } = readOptions({ service: "order", store });
    expect(relay).toMatchObject({ leaseMs: 5_000, batchSizeMax: 1_000, whenPoisoned: "park-key" });
    expect(consumer).toMatchObject({ concurrency: 4, retry: { attempts: 8 } });
    expect(readOptions({ service: "order", store, relay: false }).relay).toBeUndefined();
    const given = readOptions({ service: "order", store, relay: { retry: { attempts: 2 } } });
    expect(given.relay?.retry).toEqual({ attempts: 2, baseMs: 200, maxMs: 60_000 });
  });

  it("are refused with all mistakes at once, each by its name", () => {
    const message = refusal({
      service: "No Name",
      store: null,
      transprot: {},
      relay: {
        leaseMs: 10,
        batchSize: 5,
        whenPoisoned: "panic",
        pollMsMin: 50,
        pollMsMax: 10,
        retry: { attempts: 0, jitter: true },
      },
      consumer: { concurrency: 1.5, batchSizeMax: Number.NaN, retry: { baseMs: 100, maxMs: 10 } },
    });
    for (const name of [
      "service:",
      "store:",
      "transprot:",
      "relay.leaseMs:",
      "relay.batchSize:",
      "relay.whenPoisoned:",
      "relay.pollMsMax:",
      "relay.retry.attempts:",
      "relay.retry.jitter:",
      "consumer.concurrency:",
      "consumer.batchSizeMax:",
      "consumer.retry.maxMs:",
    ])
      expect(message).toContain(name);
  });

  it("are refused when the service or the store is missing", () => {
    expect(refusal({})).toMatch(/service:.*store:/);
  });
});
