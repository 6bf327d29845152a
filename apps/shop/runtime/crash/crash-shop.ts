import type { AuthConfig } from "../../chassis/auth-config.ts";
import type { RunningService, ServiceName } from "../../chassis/config.ts";
import type { ServiceInstruments } from "../../chassis/instruments.ts";
import { loadService } from "../services.ts";

/** The databases of a shop, by the names of their services; `bus` is the event log's. */
export const databaseNames = [
  "order",
  "payment",
  "inventory",
  "delivery",
  "provider",
  "bus",
] as const;

/** A shop that runs in this process. */
export interface CrashShop extends AsyncDisposable {
  readonly gatewayUrl: string;
}

/** What {@link startCrashShop} takes. */
export interface CrashShopOptions {
  readonly databaseUrls: Readonly<Record<string, string>>;
  readonly instruments?: (service: ServiceName) => ServiceInstruments;
  /** The carrier takes no parcel. */
  readonly isDeliveryRefused: boolean;
}

/** Who is asked before who asks, so that each is told of ports that are taken already. */
const startOrder: readonly ServiceName[] = [
  "provider",
  "payment",
  "inventory",
  "delivery",
  "order",
  "gateway",
];

const auth: AuthConfig = {
  kind: "demo",
  secret: "a secret of the crash tests, at least 32 bytes",
  issuer: "shop-crash",
};

/** All services that a checkout needs, in this process, each with a database of its own and HTTP between them. */
export async function startCrashShop(options: CrashShopOptions): Promise<CrashShop> {
  await using starting = new AsyncDisposableStack();
  const urls = new Map<ServiceName, string>();
  for (const name of startOrder) {
    const service = await startOne(name, urls, options);
    starting.defer(() => service.stop({ withinMs: 1_000 }));
    urls.set(name, service.url);
    // Before anybody can ask for a delivery.
    if (name === "delivery" && options.isDeliveryRefused) await refuseDeliveries(service.url);
  }
  const running = starting.move();
  return {
    gatewayUrl: urlOf(urls, "gateway"),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function startOne(
  name: ServiceName,
  urls: ReadonlyMap<ServiceName, string>,
  { databaseUrls, instruments }: CrashShopOptions,
): Promise<RunningService> {
  const start = await loadService(name);
  return start({
    name,
    host: "127.0.0.1",
    port: 0,
    databaseUrl: databaseUrls[name] ?? "",
    busUrl: databaseUrls["bus"] ?? "",
    peers: {
      gateway: urlOf(urls, "gateway"),
      order: urlOf(urls, "order"),
      payment: urlOf(urls, "payment"),
      inventory: urlOf(urls, "inventory"),
      delivery: urlOf(urls, "delivery"),
      notification: urlOf(urls, "notification"),
      provider: urlOf(urls, "provider"),
    },
    auth,
    demo: true,
    rateLimit: false,
    poolMax: 4,
    logLevel: process.env["SHOP_CRASH_LOG"] ?? "silent",
    // What the dead process held is free soon.
    leaseMs: 1_000,
    instruments: instruments?.(name),
  });
}

/** Nobody listens at that port: a service that is not here yet, or not at all. */
function urlOf(urls: ReadonlyMap<ServiceName, string>, name: ServiceName): string {
  return urls.get(name) ?? "http://127.0.0.1:9";
}

async function refuseDeliveries(url: string): Promise<void> {
  const response = await fetch(`${url}/faults`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ refuseRate: 1 }),
  });
  if (!response.ok) throw new Error(`the carrier cannot be told: ${response.status}`);
}
