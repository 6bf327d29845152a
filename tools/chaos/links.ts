import type { BrokerConfig } from "../../apps/shop/chassis/broker-config.ts";
import type { ServiceConfig, ServiceName } from "../../apps/shop/chassis/config.ts";
import { peerUrls } from "../../apps/shop/runtime/layout.ts";
import { type TcpProxy, tcpProxy } from "../servers/tcp-proxy.ts";

type Far = ServiceName | "database" | "broker";

/** One way of a service through the network: to its database, its broker, or a peer. */
export type LinkName = `${ServiceName}→${Far}`;

/** Which ways each service has. */
const ways: Readonly<Record<ServiceName, readonly Far[]>> = {
  gateway: ["order", "payment", "inventory", "delivery", "notification", "broker"],
  order: ["database", "broker", "payment", "inventory", "delivery", "notification", "provider"],
  payment: ["database", "broker", "provider"],
  inventory: ["database", "broker"],
  delivery: ["database", "broker"],
  notification: ["database", "broker"],
  provider: ["database"],
};

/** Every way that can be spoiled. */
export const linkNames: readonly LinkName[] = Object.entries(ways).flatMap(([service, fars]) =>
  fars.map((far) => `${service as ServiceName}→${far}` as const),
);

/** Where the servers are. */
export interface LinkTargets {
  readonly databasePort: number;
  readonly basePort: number;
  /** Where each service's broker listens for it; PostgreSQL's log is in the database server. */
  readonly brokerPort: (service: ServiceName) => number;
}

/** A proxy of its own on every way of every service. */
export interface Links extends AsyncDisposable {
  get(name: LinkName): TcpProxy;
  /** Everybody's way to the broker. */
  readonly toBroker: readonly TcpProxy[];
  /** The configuration of a service that goes by its proxies. */
  readonly route: (config: ServiceConfig) => ServiceConfig;
  /** Everything passes again, at once. */
  heal(): void;
}

/** Opens the proxies; what is behind them need not listen yet. */
export async function openLinks(targets: LinkTargets): Promise<Links> {
  await using opening = new AsyncDisposableStack();
  const proxies = new Map<LinkName, TcpProxy>();
  const peers = peerUrls(targets.basePort);
  for (const name of linkNames) {
    const [service, far] = name.split("→") as [ServiceName, Far];
    const target =
      far === "database"
        ? `tcp://127.0.0.1:${targets.databasePort}`
        : far === "broker"
          ? `tcp://127.0.0.1:${targets.brokerPort(service)}`
          : peers[far];
    proxies.set(name, opening.use(await tcpProxy(target)));
  }
  const opened = opening.move();
  const get = (name: LinkName): TcpProxy => {
    const proxy = proxies.get(name);
    if (proxy === undefined) throw new Error(`there is no link ${name}`);
    return proxy;
  };
  return {
    get,
    toBroker: linkNames.filter((name) => name.endsWith("→broker")).map(get),
    route: (config) => routed(config, proxies),
    heal: () => {
      for (const proxy of proxies.values()) {
        proxy.setLatency(0);
        proxy.resume();
      }
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

function routed(config: ServiceConfig, proxies: ReadonlyMap<LinkName, TcpProxy>): ServiceConfig {
  const through = (url: string, far: Far): string => {
    const proxy = proxies.get(`${config.name}→${far}`);
    if (proxy === undefined || url === "") return url;
    const moved = new URL(url);
    moved.hostname = proxy.host;
    moved.port = String(proxy.port);
    // A base URL has no slash behind it.
    return far === "database" || far === "broker" ? moved.href : moved.origin;
  };
  const peers = Object.entries(config.peers).map(([name, url]) => [
    name,
    through(url, name as ServiceName),
  ]);
  return {
    ...config,
    databaseUrl: through(config.databaseUrl, "database"),
    busUrl: through(config.busUrl, "broker"),
    broker: config.broker && brokerThrough(config.broker, through),
    peers: Object.fromEntries(peers) as ServiceConfig["peers"], // the same names
  };
}

function brokerThrough(
  broker: BrokerConfig,
  through: (url: string, far: Far) => string,
): BrokerConfig {
  if (broker.kind !== "kafka") return { ...broker, url: through(broker.url, "broker") };
  const brokers = broker.brokers.map((address) => new URL(through(`tcp://${address}`, "broker")));
  return { ...broker, brokers: brokers.map(({ host }) => host) };
}
