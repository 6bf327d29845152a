import { systemClock } from "dure";
import { randomBytes } from "node:crypto";
import { portOffsets } from "../chassis/config.ts";
import type { ServiceName } from "../chassis/config.ts";
import { orderPageSchema } from "../contracts/http/orders.ts";
import { ledgerSummarySchema } from "../contracts/http/provider.ts";
import { reconciliationSchema } from "../contracts/http/reconciliation.ts";
import { SetupError } from "../runtime/setup-error.ts";
import { audit } from "./audit.ts";
import { awaitFinal } from "./await-final.ts";
import type { AwaitFinalOptions } from "./await-final.ts";
import { createFaults } from "./faults.ts";
import type { Faults } from "./faults.ts";
import { startKiller } from "./killer.ts";
import type { ReplayOptions } from "./options.ts";
import { listOrders, merchant } from "./order-list.ts";
import type { Plan } from "./plan.ts";
import { postInvoices } from "./post-invoices.ts";
import type { PostedInvoices } from "./post-invoices.ts";
import type { PostedOrder } from "./post-order.ts";
import { awaitReturns } from "./post-return.ts";
import { createProgress } from "./progress.ts";
import type { Progress } from "./progress.ts";
import { reportOf } from "./report.ts";
import type { Report } from "./report.ts";
import { createShopClient } from "./shop-client.ts";
import type { ShopClient } from "./shop-client.ts";
import { compareStock, putStock } from "./stock.ts";

/** Longer than a killed service needs to come back, with all its retries. */
const patienceMs = 120_000;
const stockPatienceMs = 30_000;
/** How long faults and kills go on at most after the last post. */
const troubleWithinMs = 30_000;

/** Replays a plan at the shop that answers at this address, and finds out what became of it. */
export async function runReplay(url: string, plan: Plan, options: ReplayOptions): Promise<Report> {
  const client = createShopClient({ gatewayUrl: url, patienceMs });
  const run = randomBytes(4).toString("hex");
  const since = await newestOrder(client, url);
  const { products } = plan;
  const before = await putStock(client, url, { products, stock: options.stock });

  const startedAt = systemClock.now();
  const progress = createProgress(process.stdout);
  const waitFor = async (
    posted: readonly PostedOrder[],
    limits: Pick<AwaitFinalOptions, "restMax" | "withinMs">,
  ): Promise<void> => {
    const orderIds = new Set(posted.flatMap((each) => ("orderId" in each ? [each.orderId] : [])));
    const onProgress = (inFlight: number): void => progress.show(`${inFlight} orders on their way`);
    await awaitFinal(client, { url, since: since.at, orderIds, patienceMs, onProgress, ...limits });
  };
  const posting = { plan, run, options, progress, waitFor };
  const { posted, killed, postingSeconds } = await post(client, url, posting);
  await waitFor(posted.orders, {});
  const openReturns = await awaitReturns(client, posted.returns, { url, patienceMs });
  progress.end();

  const orders = await listOrders(client, { url, since: since.at });
  const found = audit({
    posted: posted.orders,
    returns: posted.returns,
    mayPark: options.faults !== "none",
    orders: orders.filter(({ orderId }) => !since.known.has(orderId)),
    ledger: await readLedger(client, url),
  });
  const { sold } = found;
  const stock = await compareStock(client, url, { before, sold, patienceMs: stockPatienceMs });
  const call = { url, path: "/reconciliation", as: merchant };
  return reportOf({
    plan,
    posted: posted.orders,
    returns: posted.returns,
    openReturns,
    audit: found,
    stock,
    reconciliation: await client.ask(call, reconciliationSchema),
    retryCount: client.retryCount,
    killed,
    postingSeconds,
    totalSeconds: ((found.lastFinalAt ?? startedAt) - startedAt) / 1000,
  });
}

/** Where a service of the shop answers whose gateway is at this address. */
export function besideGateway(gatewayUrl: string, service: ServiceName): string {
  const url = new URL(gatewayUrl);
  if (url.port === "") throw new SetupError("--url needs a port: the provider's follows from it");
  return `${url.protocol}//${url.hostname}:${Number(url.port) + portOffsets[service]}`;
}

interface Posting {
  readonly posted: PostedInvoices;
  readonly killed: readonly string[];
  readonly postingSeconds: number;
}

interface PostingOptions {
  readonly plan: Plan;
  readonly run: string;
  readonly options: ReplayOptions;
  readonly progress: Progress;
  /** Waits until most of the orders are through. */
  readonly waitFor: (
    posted: readonly PostedOrder[],
    limits: { readonly restMax: number; readonly withinMs: number },
  ) => Promise<void>;
}

async function post(
  client: ShopClient,
  url: string,
  { plan, run, options, progress, waitFor }: PostingOptions,
): Promise<Posting> {
  const { invoices } = plan;
  const faults = faultsOf(client, url, options);
  const background: Promise<void>[] = [];
  const killer =
    options.kill &&
    startKiller({ ...options.kill, onKilled: (name) => void background.push(faults.remind(name)) });
  const startedAt = performance.now();
  try {
    await faults.apply();
    let count = 0;
    const { mode, concurrency } = options;
    const onPosted = (): void => {
      count += 1;
      progress.show(
        `posted ${count} of ${invoices.length} invoices, ${client.retryCount} calls repeated`,
      );
      if (count === Math.ceil(invoices.length / 2)) background.push(faults.breakOff());
    };
    const postOptions = { url, run, mode, concurrency, patienceMs, onPosted };
    const posted = await postInvoices(client, invoices, postOptions);
    const postingSeconds = (performance.now() - startedAt) / 1000;
    // Posting is quicker than what follows from it, and that is what the trouble is meant for.
    const isTroubled = killer !== undefined || options.faults !== "none";
    const restMax = Math.floor(posted.orders.length / 4);
    if (isTroubled) await waitFor(posted.orders, { restMax, withinMs: troubleWithinMs });
    return { posted, killed: killer?.killed ?? [], postingSeconds };
  } finally {
    await killer?.stop();
    await Promise.allSettled(background);
    await faults.clear();
  }
}

function faultsOf(client: ShopClient, url: string, options: ReplayOptions): Faults {
  const at = (service: ServiceName): string =>
    options.faults === "none" ? "" : besideGateway(url, service);
  const urls = {
    provider: at("provider"),
    delivery: at("delivery"),
    notification: at("notification"),
  };
  return createFaults(client, urls, options.faults);
}

/** The newest orders before the run, by the shop's own clock: what comes after them is ours. */
async function newestOrder(
  client: ShopClient,
  url: string,
): Promise<{ readonly at: string; readonly known: ReadonlySet<string> }> {
  const call = { url, path: "/orders?limit=1", as: merchant };
  const [newest] = (await client.ask(call, orderPageSchema)).orders;
  if (newest === undefined) return { at: "", known: new Set() };
  const known = await listOrders(client, { url, since: newest.createdAt });
  return { at: newest.createdAt, known: new Set(known.map(({ orderId }) => orderId)) };
}

async function readLedger(client: ShopClient, url: string) {
  const call = { url: besideGateway(url, "provider"), path: "/ledger/summary" };
  return client.ask(call, ledgerSummarySchema).then(
    ({ orders }) => orders,
    () => undefined,
  );
}
