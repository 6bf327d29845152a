import type { ServiceConfig, ServiceName } from "../chassis/config.ts";
import type { ReadinessCheck } from "../chassis/operational-routes.ts";
import { createPeerClient } from "../chassis/peer-client.ts";
import type { PeerClient } from "../chassis/peer-client.ts";
import { createServiceTokens } from "../chassis/service-token.ts";
import { newCallContext } from "../chassis/trace-context.ts";

/** Every service but the gateway itself. */
export type BackendName = Exclude<ServiceName, "gateway">;

const backendNames: readonly BackendName[] = [
  "order",
  "payment",
  "inventory",
  "delivery",
  "notification",
  "provider",
];

/** Longer than the order service lets a duplicate wait for the first request with its key. */
const timeoutMs = 15_000;

/** A client of every service behind the gateway; the stack closes them. */
export function connectBackends(
  config: ServiceConfig,
  resources: AsyncDisposableStack,
): Readonly<Record<BackendName, PeerClient>> {
  const tokens = createServiceTokens(config.auth, config.name);
  const { instruments } = config;
  const connect = (peer: BackendName): PeerClient => {
    const baseUrl = config.peers[peer];
    const client = createPeerClient({ peer, baseUrl, tokens, timeoutMs, instruments });
    resources.defer(() => client.close());
    return client;
  };
  return {
    order: connect("order"),
    payment: connect("payment"),
    inventory: connect("inventory"),
    delivery: connect("delivery"),
    notification: connect("notification"),
    provider: connect("provider"),
  };
}

/** One check per service: the gateway is ready when all of them are. */
export function backendReadiness(
  backends: Readonly<Record<BackendName, PeerClient>>,
): readonly ReadinessCheck[] {
  return backendNames.map((name) => ({
    name,
    check: async (signal) => {
      const context = newCallContext(signal);
      const answer = await backends[name].forward({ method: "GET", path: "/readyz", context });
      if (answer.status !== 200) throw new Error(`${name} answered ${answer.status}`);
    },
  }));
}
