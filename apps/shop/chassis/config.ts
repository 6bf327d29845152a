import type { AuthConfig } from "./auth-config.ts";
import type { BrokerConfig } from "./broker-config.ts";
import type { ServiceInstruments } from "./instruments.ts";

/** Every process role of the shop, by the word used in URLs, metrics and logs. */
export type ServiceName =
  | "gateway"
  | "order"
  | "payment"
  | "inventory"
  | "delivery"
  | "notification"
  | "provider";

/** What each service's port is above the shop's base port. */
export const portOffsets: Readonly<Record<ServiceName, number>> = {
  gateway: 0,
  order: 1,
  payment: 2,
  inventory: 3,
  delivery: 4,
  notification: 5,
  provider: 9,
};

/** All that a service is told from outside; it reads no environment and no files of its own. */
export interface ServiceConfig {
  readonly name: ServiceName;
  readonly host: string;
  /** 0 takes a free port; `RunningService.url` then says which. */
  readonly port: number;
  /** The service's own database. The gateway has none and ignores it. */
  readonly databaseUrl: string;
  /** The database of the event log that all services share, where no other broker is named. */
  readonly busUrl: string;
  /** @defaultValue PostgreSQL, at `busUrl` */
  readonly broker?: BrokerConfig | undefined;
  /** Base URL of every service, its own included, without a trailing slash. */
  readonly peers: Readonly<Record<ServiceName, string>>;
  readonly auth: AuthConfig;
  /** Opens `/demo/token`, `/faults` and the provider's `/ledger`. Never in production. */
  readonly demo: boolean;
  /** Whether the gateway limits each principal to 100 requests a second. */
  readonly rateLimit: boolean;
  /** Connections that this service may open to its own database. */
  readonly poolMax: number;
  /** A pino level: `silent`, `error`, `warn`, `info`, `debug`, `trace`. */
  readonly logLevel: string;
  /** How soon another process takes over from one that has died. @defaultValue 5000, as Dure has it */
  readonly leaseMs?: number;
  /** For tests. They are functions, so only a service in this process can have them. */
  readonly instruments?: ServiceInstruments | undefined;
}

/** What carries the events between the services. */
export function brokerOf({ broker, busUrl }: ServiceConfig): BrokerConfig {
  return broker ?? { kind: "postgres", url: busUrl };
}

/** How long `stop` waits for requests in flight before their connections are closed. */
export interface StopOptions {
  /** @defaultValue 10000 */
  readonly withinMs?: number;
}

/** A service that listens. It ends only by `stop`: services install no signal handlers. */
export interface RunningService {
  readonly name: ServiceName;
  /** Where it listens, with the real port, without a trailing slash. */
  readonly url: string;
  /**
   * Refuses new connections, lets requests in flight finish within the limit, then closes what is
   * left. Resolves when nothing of the service runs any more; calling it twice is harmless.
   */
  stop(options?: StopOptions): Promise<void>;
}
