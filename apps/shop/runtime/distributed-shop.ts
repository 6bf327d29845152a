import { rm } from "node:fs/promises";
import { clearBroker } from "./broker-option.ts";
import type { ServiceConfig } from "../chassis/config.ts";
import { dataFolder, demoSecret, prepareDataFolder } from "./data-folder.ts";
import { connectDatabases, startEmbeddedDatabases } from "./databases.ts";
import type { Databases } from "./databases.ts";
import type { RunningShop } from "./embedded-shop.ts";
import { peerUrls, serviceConfig } from "./layout.ts";
import type { ShopLayout } from "./layout.ts";
import { assertPortsAreFree, findFreePort, servicePorts, postgresPortOffset } from "./ports.ts";
import { writeProcessList } from "./process-list.ts";
import { waitUntilReady } from "./readiness.ts";
import { serviceNames, stopOrder } from "./services.ts";
import { SetupError } from "./setup-error.ts";
import type { DistributedOptions } from "./shop-command.ts";
import { superviseProcess } from "./supervised-process.ts";
import type { SupervisedProcess } from "./supervised-process.ts";

/** What {@link startDistributedShop} takes beside a command line. */
export interface DistributedShopOptions extends DistributedOptions {
  /** Sends a service by other ways to its database, its broker and its peers: proxies. */
  readonly route?: ((config: ServiceConfig) => ServiceConfig) | undefined;
}

const readyWithinMs = 90_000;
const serviceStopWithinMs = 4000;
const databaseStopWithinMs = 6000;

/**
 * Runs every service in a process of its own and starts a process that dies again. The processes
 * end with this one, even when it is killed.
 *
 * @param log gets a line for every process that dies or comes back
 * @throws SetupError with what to change, or naming the service that failed
 */
export async function startDistributedShop(
  options: DistributedShopOptions,
  log: (line: string) => void,
): Promise<RunningShop> {
  const { basePort, host, signal } = options;
  const folder = dataFolder(options.data);
  await assertPortsAreFree("127.0.0.1", servicePorts(basePort));
  await assertPortsAreFree(host, [basePort]);
  await prepareDataFolder(folder, options);
  if (options.fresh) await clearBroker(options.broker);
  const databases = await openDatabases(options);
  const processes: SupervisedProcess[] = [];
  const stop = async (): Promise<void> => {
    await stopAll(processes, databases);
    await rm(folder.processes, { force: true });
  };
  try {
    const layout: ShopLayout = { ...options, databases, secret: await demoSecret(folder) };
    const onChange = (): void => writeProcessList(folder.processes, entriesOf(processes));
    await startProcesses(options, { layout, processes, log, onChange });
    onChange();
    const urls = peerUrls(basePort, host);
    await waitUntilReady(urls.gateway, { withinMs: readyWithinMs, signal });
    let stopped: Promise<void> | undefined;
    return {
      url: urls.gateway,
      urls,
      postgresAddress: databases.address,
      processCount: processes.length,
      stop: () => (stopped ??= stop()),
      kill: () => {
        for (const each of processes) each.kill();
        databases.kill();
      },
    };
  } catch (error) {
    await stop();
    signal?.throwIfAborted();
    throw error;
  }
}

function openDatabases(options: DistributedOptions): Promise<Databases> {
  const { postgresUrl, fresh, instances } = options;
  if (postgresUrl !== undefined) return connectDatabases(postgresUrl, { fresh });
  return startEmbeddedDatabases({
    folder: dataFolder(options.data),
    port: options.basePort + postgresPortOffset,
    serviceCount: Object.values(instances).reduce((sum, count) => sum + count, 0),
    signal: options.signal,
  });
}

interface Start {
  readonly layout: ShopLayout;
  /** Filled one by one, so that a failure half way leaves nothing behind. */
  readonly processes: SupervisedProcess[];
  readonly log: (line: string) => void;
  readonly onChange: () => void;
}

async function startProcesses(options: DistributedShopOptions, start: Start): Promise<void> {
  for (const name of serviceNames) {
    for (let instance = 1; instance <= options.instances[name]; instance += 1) {
      const direct = serviceConfig(start.layout, name);
      const config = options.route?.(direct) ?? direct;
      // Fixed for the life of the shop, so that a process that comes back is found where it was.
      const port = instance === 1 ? config.port : await findFreePort();
      const { log, onChange } = start;
      start.processes.push(
        superviseProcess({ config: { ...config, port }, instance, log, onChange }),
      );
    }
  }
  const aborted = new Promise<never>((_, reject) => {
    options.signal?.addEventListener("abort", () => reject(new Error("stopped while starting")));
  });
  try {
    await Promise.race([Promise.all(start.processes.map((each) => each.started)), aborted]);
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error));
  }
}

function entriesOf(processes: readonly SupervisedProcess[]) {
  return processes.flatMap(({ config, instance, pid }) =>
    pid === undefined
      ? []
      : [{ name: config.name, instance, pid, url: `http://${config.host}:${config.port}` }],
  );
}

async function stopAll(
  processes: readonly SupervisedProcess[],
  databases: Databases,
): Promise<void> {
  for (const group of stopOrder) {
    const members = processes.filter(({ config }) => group.includes(config.name));
    await Promise.all(members.map((each) => each.stop(serviceStopWithinMs)));
  }
  await databases.stop({ withinMs: databaseStopWithinMs });
}
