import type { AuthConfig } from "../chassis/auth-config.ts";
import type { BrokerConfig } from "../chassis/broker-config.ts";
import { portOffsets } from "../chassis/config.ts";
import type { ServiceConfig, ServiceName } from "../chassis/config.ts";
import type { Databases } from "./databases.ts";

/** What the configurations of all services of one shop have in common. */
export interface ShopLayout {
  readonly basePort: number;
  /** Where the gateway listens. The services behind it are on loopback, whatever this says. */
  readonly host: string;
  readonly databases: Databases;
  readonly broker?: BrokerConfig | undefined;
  readonly secret: string;
  readonly rateLimit: boolean;
  readonly logLevel: string;
}

const loopback = "127.0.0.1";
const poolMax = 8;

/** The configuration of one service at its public port. */
export function serviceConfig(layout: ShopLayout, name: ServiceName): ServiceConfig {
  return {
    name,
    host: name === "gateway" ? layout.host : loopback,
    port: layout.basePort + portOffsets[name],
    databaseUrl: layout.databases.urls[name],
    busUrl: layout.databases.urls.bus,
    broker: layout.broker,
    peers: peerUrls(layout.basePort, layout.host),
    auth: demoAuth(layout.secret),
    demo: true,
    rateLimit: layout.rateLimit,
    poolMax,
    logLevel: layout.logLevel,
  };
}

/** Where each service of a shop on this machine answers. */
export function peerUrls(
  basePort: number,
  host: string = loopback,
): Readonly<Record<ServiceName, string>> {
  const url = (name: ServiceName): string => {
    const address = name === "gateway" ? reachable(host) : loopback;
    return `http://${address}:${basePort + portOffsets[name]}`;
  };
  return {
    gateway: url("gateway"),
    order: url("order"),
    payment: url("payment"),
    inventory: url("inventory"),
    delivery: url("delivery"),
    notification: url("notification"),
    provider: url("provider"),
  };
}

function demoAuth(secret: string): AuthConfig {
  return { kind: "demo", secret, issuer: "dure-shop" };
}

/** An address that stands for all of the machine's is no address to connect to. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return loopback;
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
