import { z } from "zod";
import type { ParticipantFaults, ProviderFaults } from "../contracts/http/faults.ts";
import type { ServiceName } from "../chassis/config.ts";
import type { ShopClient } from "./shop-client.ts";

/** How much goes wrong during a replay. */
export type FaultLevel = "none" | "light" | "heavy";

type FaultyService = Extract<ServiceName, "provider" | "delivery" | "notification">;

const outageMs = 5000;

const providerFaults: Readonly<Record<FaultLevel, ProviderFaults>> = {
  none: {},
  light: { failureRate: 0.02, answerLostRate: 0.01, latencyMs: [1, 20] },
  heavy: { failureRate: 0.15, answerLostRate: 0.1, latencyMs: [1, 80] },
};

const participantFaults: Readonly<Record<FaultLevel, ParticipantFaults>> = {
  none: {},
  light: { failureRate: 0.02, latencyMs: [1, 20] },
  heavy: { failureRate: 0.15, refuseRate: 0.05, latencyMs: [1, 80] },
};

/** The faults of the services that can be made to fail. */
export interface Faults {
  /** Puts the level in force everywhere. */
  apply(): Promise<void>;
  /** Cuts the provider off for five seconds, if the level asks for that. */
  breakOff(): Promise<void>;
  /** Puts the level in force again in a service that has been started anew and forgot. */
  remind(service: string): Promise<void>;
  /** Heals everything. */
  clear(): Promise<void>;
}

/** @param urls where the services answer; they take faults from this machine only, in demo mode */
export function createFaults(
  client: ShopClient,
  urls: Readonly<Record<FaultyService, string>>,
  level: FaultLevel,
): Faults {
  let isCleared = level === "none";
  const put = async (service: FaultyService, body: ProviderFaults | ParticipantFaults) => {
    await client.ask({ url: urls[service], path: "/faults", method: "PUT", body }, z.unknown());
  };
  const putLevel = async (service: FaultyService, which: FaultLevel): Promise<void> => {
    await put(service, service === "provider" ? providerFaults[which] : participantFaults[which]);
  };
  const putAll = async (which: FaultLevel): Promise<void> => {
    await Promise.all(faultyServices.map((service) => putLevel(service, which)));
  };
  return {
    async apply() {
      if (!isCleared) await putAll(level);
    },
    async breakOff() {
      if (level === "heavy") await put("provider", { ...providerFaults.heavy, outageMs });
    },
    async remind(name) {
      const service = faultyServices.find((each) => each === name);
      if (service !== undefined && !isCleared) await putLevel(service, level);
    },
    async clear() {
      if (isCleared) return;
      isCleared = true;
      await putAll("none");
    },
  };
}

const faultyServices = ["provider", "delivery", "notification"] as const;
