import { paymentPreset } from "dure/resilience";
import type { ServiceConfig } from "../chassis/config.ts";
import { createPeerClient } from "../chassis/peer-client.ts";
import type { PeerClient, PeerClientOptions } from "../chassis/peer-client.ts";
import { createServiceTokens } from "../chassis/service-token.ts";

/** The services that the order service asks. */
export type PeerName = "payment" | "inventory" | "delivery" | "notification" | "provider";

/** A client of each. */
export type Peers = Readonly<Record<PeerName, PeerClient>>;

/** Payment stands in the provider's line for up to 5 s, and asks for up to 5 s. */
const particulars: Readonly<Partial<Record<PeerName, Partial<PeerClientOptions>>>> = {
  payment: { preset: paymentPreset, timeoutMs: 12_000 },
};

/** Connects to the peers; the stack closes the connections. */
export function connectPeers(config: ServiceConfig, resources: AsyncDisposableStack): Peers {
  const tokens = createServiceTokens(config.auth, config.name);
  const { instruments } = config;
  const connect = (peer: PeerName): PeerClient => {
    const baseUrl = config.peers[peer];
    const options = { peer, baseUrl, tokens, instruments, ...particulars[peer] };
    const client = createPeerClient(options);
    resources.defer(() => client.close());
    return client;
  };
  return {
    payment: connect("payment"),
    inventory: connect("inventory"),
    delivery: connect("delivery"),
    notification: connect("notification"),
    provider: connect("provider"),
  };
}
