import type { RunningService, ServiceConfig, ServiceName } from "../chassis/config.ts";

/** What every service's `main.ts` exports. */
export type StartService = (config: ServiceConfig) => Promise<RunningService>;

/**
 * The services in the order in which they stop: whoever asks before whoever answers, so that
 * nobody's last request meets a closed door. Those of one group stop together.
 */
export const stopOrder: readonly (readonly ServiceName[])[] = [
  ["gateway"],
  ["order"],
  ["payment", "inventory", "delivery", "notification"],
  ["provider"],
];

/** Every service, by port. */
export const serviceNames: readonly ServiceName[] = stopOrder.flat();

/** Loads the code of one service, and of no other: each may run in a process of its own. */
export async function loadService(name: ServiceName): Promise<StartService> {
  return loaders[name]();
}

const loaders: Readonly<Record<ServiceName, () => Promise<StartService>>> = {
  gateway: async () => (await import("../gateway/main.ts")).startGateway,
  order: async () => (await import("../order/main.ts")).startOrder,
  payment: async () => (await import("../payment/main.ts")).startPayment,
  inventory: async () => (await import("../inventory/main.ts")).startInventory,
  delivery: async () => (await import("../delivery/main.ts")).startDelivery,
  notification: async () => (await import("../notification/main.ts")).startNotification,
  provider: async () => (await import("../provider/main.ts")).startProvider,
};
