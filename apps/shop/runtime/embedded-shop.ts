import type { RunningService, ServiceName } from "../chassis/config.ts";
import { dataFolder, demoSecret, prepareDataFolder } from "./data-folder.ts";
import { startEmbeddedDatabases } from "./databases.ts";
import type { Databases } from "./databases.ts";
import { peerUrls, serviceConfig } from "./layout.ts";
import type { ShopLayout } from "./layout.ts";
import { assertPortsAreFree, servicePorts, postgresPortOffset } from "./ports.ts";
import { waitUntilReady } from "./readiness.ts";
import { loadService, serviceNames, stopOrder } from "./services.ts";
import { SetupError } from "./setup-error.ts";

/** Where a shop runs and what it keeps. */
export interface ShopOptions {
  readonly basePort: number;
  /** The address that the gateway listens on. */
  readonly host: string;
  /** The folder of the data. */
  readonly data: string;
  /** Begins with nothing, whatever the folder held. */
  readonly fresh: boolean;
  readonly rateLimit: boolean;
  /** A pino level. */
  readonly logLevel: string;
  /** Gives a start under way up; it does not stop a shop that has started. */
  readonly signal?: AbortSignal | undefined;
}

/** A shop that answers. */
export interface RunningShop {
  /** The gateway. */
  readonly url: string;
  readonly urls: Readonly<Record<ServiceName, string>>;
  /** Where PostgreSQL listens, for people. */
  readonly postgresAddress: string;
  /** How many processes the services run in, if it is not this one. */
  readonly processCount?: number;
  /** Stops everything in order and within about 15 s; the data stays. */
  stop(): Promise<void>;
  /** Ends what would outlive this process, without waiting for anything. */
  kill(): void;
}

/** The gateway asks every service once more; on a machine that is busy that may take a while. */
const readyWithinMs = 60_000;
const serviceStopWithinMs = 3000;
const databaseStopWithinMs = 6000;

/**
 * Runs the whole shop in this process, over a PostgreSQL of its own, and answers when all of it is
 * ready. If something cannot be started, what has been started is stopped.
 *
 * @throws SetupError with what to change, or naming the service that failed
 */
export async function startEmbeddedShop(options: ShopOptions): Promise<RunningShop> {
  const folder = dataFolder(options.data);
  await assertPortsAreFree("127.0.0.1", servicePorts(options.basePort));
  await assertPortsAreFree(options.host, [options.basePort]);
  await prepareDataFolder(folder, options);
  // Loading the code takes as long as starting the server, which is another process.
  const [databases] = await Promise.all([
    startEmbeddedDatabases({
      folder,
      port: options.basePort + postgresPortOffset,
      serviceCount: serviceNames.length,
      signal: options.signal,
    }),
    Promise.allSettled(serviceNames.map(loadService)),
  ]);
  const running = new Map<ServiceName, RunningService>();
  try {
    const layout: ShopLayout = { ...options, databases, secret: await demoSecret(folder) };
    await startServices(layout, running);
    const urls = peerUrls(options.basePort, options.host);
    await waitUntilReady(urls.gateway, { withinMs: readyWithinMs, signal: options.signal });
    let stopped: Promise<void> | undefined;
    return {
      url: urls.gateway,
      urls,
      postgresAddress: databases.address,
      stop: () => (stopped ??= stopAll(running, databases)),
      kill: () => databases.kill(),
    };
  } catch (error) {
    await stopAll(running, databases);
    options.signal?.throwIfAborted();
    throw error;
  }
}

async function startServices(
  layout: ShopLayout,
  running: Map<ServiceName, RunningService>,
): Promise<void> {
  const results = await Promise.allSettled(
    serviceNames.map(async (name) => {
      const start = await loadService(name);
      running.set(name, await start(serviceConfig(layout, name)));
    }),
  );
  const failures = results.flatMap((result, at) =>
    result.status === "rejected"
      ? [{ name: serviceNames[at], reason: result.reason as unknown }]
      : [],
  );
  const [first] = failures;
  if (first === undefined) return;
  const why = failures.map(({ name, reason }) => `${name} (${describe(reason)})`).join(", ");
  throw new SetupError(`The shop did not start, because of: ${why}`, { cause: first.reason });
}

async function stopAll(
  running: ReadonlyMap<ServiceName, RunningService>,
  databases: Databases,
): Promise<void> {
  const failures: unknown[] = [];
  for (const group of stopOrder) {
    const results = await Promise.allSettled(
      group.map(async (name) => running.get(name)?.stop({ withinMs: serviceStopWithinMs })),
    );
    for (const result of results) if (result.status === "rejected") failures.push(result.reason);
  }
  await databases.stop({ withinMs: databaseStopWithinMs });
  if (failures.length > 0) throw new AggregateError(failures, "Not every service stopped cleanly.");
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
