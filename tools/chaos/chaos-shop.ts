import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrokerConfig } from "../../apps/shop/chassis/broker-config.ts";
import type { ServiceName } from "../../apps/shop/chassis/config.ts";
import { dataFolder } from "../../apps/shop/runtime/data-folder.ts";
import { startDistributedShop } from "../../apps/shop/runtime/distributed-shop.ts";
import type { RunningShop } from "../../apps/shop/runtime/embedded-shop.ts";
import { findFreeBasePort, postgresPortOffset } from "../../apps/shop/runtime/ports.ts";
import { serviceNames } from "../../apps/shop/runtime/services.ts";
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from "../../packages/dure/src/embedded/index.ts";
import { kafkaIsMissing, startKafka } from "../servers/kafka.ts";
import { findRedisServer, redisMissing, startRedisServer } from "../servers/redis.ts";
import { type Links, openLinks } from "./links.ts";
import type { BrokerKind } from "./schedule.ts";

/** The database server, which can be taken away and comes back on the same port and data. */
export interface DatabaseServer {
  /** Of the database `postgres`, without a proxy. */
  readonly url: string;
  /** Of one service's database, or of the event log's, without a proxy. */
  urlOf(name: string): string;
  /** Ends all sessions and writes everything; with `crash` it dies as it stands. */
  stop(how: "orderly" | "crash"): Promise<void>;
  start(): Promise<void>;
  /** Lets it die without waiting. */
  kill(): void;
}

/** A broker of its own process. */
export interface BrokerServer {
  kill(): Promise<void>;
  restart(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** A distributed shop, all of whose processes and connections can be disturbed. */
export interface ChaosShop extends AsyncDisposable {
  readonly shop: RunningShop;
  readonly links: Links;
  readonly database: DatabaseServer;
  /** Undefined: the event log in PostgreSQL. */
  readonly broker: BrokerServer | undefined;
  readonly processesPath: string;
  /** Ends what would outlive this process. */
  kill(): void;
}

/** What {@link startChaosShop} takes. */
export interface ChaosShopOptions {
  readonly broker: BrokerKind;
  /** How many processes each of these services has; all others have one. */
  readonly instances: Readonly<Partial<Record<ServiceName, number>>>;
  readonly logLevel: string;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Why this broker cannot be started on this machine; undefined: it can. */
export async function brokerIsMissing(broker: BrokerKind): Promise<string | undefined> {
  if (broker === "kafka") return kafkaIsMissing();
  if (broker === "redis" && (await findRedisServer()) === undefined) return redisMissing;
  return undefined;
}

/** Starts the servers, a proxy on every way, and the shop behind them. */
export async function startChaosShop(options: ChaosShopOptions): Promise<ChaosShop> {
  await using starting = new AsyncDisposableStack();
  const data = await mkdtemp(join(tmpdir(), "dure-chaos-"));
  starting.defer(() => rm(data, { recursive: true, force: true }));
  const basePort = await findFreeBasePort();
  const databasePort = basePort + postgresPortOffset;
  const database = await startDatabase(join(data, "database"), databasePort, options);
  starting.defer(() => database.stop("orderly"));
  const doors = doorsTo(options.broker, basePort);
  const links = starting.use(
    await openLinks({ databasePort, basePort, brokerPort: (name) => doors.get(name) ?? 0 }),
  );
  const opened = await startBroker(options.broker, { doors, links, basePort, starting });
  const shop = await startDistributedShop(
    {
      basePort,
      host: "127.0.0.1",
      data,
      fresh: false,
      rateLimit: false,
      logLevel: options.logLevel,
      signal: options.signal,
      postgresUrl: database.url,
      broker: opened?.config,
      instances: { ...instancesOfOne, ...options.instances },
      route: links.route,
    },
    options.log,
  );
  starting.defer(() => shop.stop());
  const running = starting.move();
  return {
    shop,
    links,
    database,
    broker: opened?.server,
    processesPath: dataFolder(data).processes,
    kill: () => {
      shop.kill();
      database.kill();
      rmSync(data, { recursive: true, force: true, maxRetries: 3 });
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Above the services' ports and below PostgreSQL's. */
const brokerPortOffset = 20;

const instancesOfOne: Readonly<Record<ServiceName, number>> = {
  gateway: 1,
  order: 1,
  payment: 1,
  inventory: 1,
  delivery: 1,
  notification: 1,
  provider: 1,
};

async function startDatabase(
  dataDir: string,
  port: number,
  { signal }: ChaosShopOptions,
): Promise<DatabaseServer> {
  // Enough for every process, twice: the sessions of a killed one go when the server notices.
  const settings = { max_connections: 400 };
  const startServer = () => startEmbeddedPostgres({ dataDir, port, settings, signal });
  let server: EmbeddedPostgres | undefined = await startServer();
  const { url } = server;
  // PostgreSQL's immediate shutdown: no checkpoint, and the next start recovers.
  const kill = (): void => void (server !== undefined && process.kill(server.pid, "SIGQUIT"));
  return {
    url,
    urlOf(name) {
      const own = new URL(url);
      own.pathname = `/shop_${name}`;
      return own.href;
    },
    async stop(how) {
      if (how === "crash") kill();
      await server?.stop();
      server = undefined;
    },
    async start() {
      server ??= await startServer();
    },
    kill,
  };
}

/**
 * The port at which each service's way to the broker ends. Kafka needs a listener for each, since it says where
 * to come back. They are the shop's own: one that the system hands out may be somebody else's after a restart.
 */
function doorsTo(broker: BrokerKind, basePort: number): ReadonlyMap<ServiceName, number> {
  return new Map(
    serviceNames.map((name, index) => {
      if (broker === "postgres") return [name, basePort + postgresPortOffset];
      return [name, basePort + brokerPortOffset + (broker === "kafka" ? index : 0)];
    }),
  );
}

interface BrokerParts {
  readonly doors: ReadonlyMap<ServiceName, number>;
  readonly links: Links;
  readonly basePort: number;
  readonly starting: AsyncDisposableStack;
}

async function startBroker(
  kind: BrokerKind,
  { doors, links, basePort, starting }: BrokerParts,
): Promise<{ readonly config: BrokerConfig; readonly server: BrokerServer } | undefined> {
  if (kind === "postgres") return undefined;
  if (kind === "redis") {
    const port = doors.get("order") ?? 0;
    // What it has accepted it keeps: with less an operator has to publish again after a loss.
    const redis = starting.use(await startRedisServer({ port, appendFsync: "always" }));
    const server: BrokerServer = {
      kill: () => redis.kill(),
      restart: () => redis.start(),
      freeze: () => redis.freeze(),
      thaw: () => redis.thaw(),
    };
    return { config: { kind, url: redis.url, prefix: `shop-${basePort}` }, server };
  }
  const listeners = [...doors].flatMap(([service, port]) =>
    service === "provider" ? [] : [{ port, advertisedPort: links.get(`${service}→broker`).port }],
  );
  const port = basePort + brokerPortOffset + doors.size;
  const kafka = starting.use(await startKafka({ port, listeners }));
  return { config: { kind, brokers: [...kafka.brokers] }, server: kafka };
}
