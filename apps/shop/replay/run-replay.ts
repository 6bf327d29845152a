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
import type { ReplayOptions } from "./options.ts";
import { listOrders, merchant } from "./order-list.ts";
import type { Plan, StockLevel } from "./plan.ts";
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
import type { StartTrouble } from "./trouble.ts";

/** How a replay goes about it. */
export interface RunOptions extends Pick<ReplayOptions, "mode" | "concurrency" | "faults"> {
  readonly stock: StockLevel;
  readonly trouble?: StartTrouble | undefined;
  /**
   * How long one call may take with all its repetitions, and how long orders may stand still.
   * @defaultValue 120000, longer than a killed service needs to come back, with all its retries
   */
  readonly patienceMs?: number;
  /** Where the progress goes. @defaultValue standard output */
  readonly progress?: Progress;
}

const patienceMsDefault = 120_000;
const stockPatienceMs = 30_000;
/** How long faults and kills go on at most after the last post. */
const troubleWithinMs = 30_000;

/** Replays a plan at the shop that answers at this address, and finds out what became of it. */
export async function runReplay(url: string, plan: Plan, options: RunOptions): Promise<Report> {
  const { patienceMs = patienceMsDefault, progress = createProgress(process.stdout) } = options;
  const client = createShopClient({ gatewayUrl: url, patienceMs });
  const run = randomBytes(4).toString("hex");
  const since = await newestOrder(client, url);
  const { products } = plan;
  const before = await putStock(client, url, { products, stock: options.stock });

  const startedAt = systemClock.now();
  const waitFor = async (
    posted: readonly PostedOrder[],
    limits: Pick<AwaitFinalOptions, "restMax" | "withinMs">,
  ): Promise<void> => {
    const orderIds = new Set(posted.flatMap((each) => ("orderId" in each ? [each.orderId] : [])));
    const onProgress = (inFlight: number): void => progress.show(`${inFlight} orders on their way`);
    await awaitFinal(client, { url, since: since.at, orderIds, patienceMs, onProgress, ...limits });
  };
  const posting = { plan, run, options, patienceMs, progress, waitFor };
  const { posted, isEndless, victims, postingSeconds } = await post(client, url, posting);
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
    unpostedCount: isEndless ? 0 : plan.orders.length - posted.orders.length,
    returns: posted.returns,
    openReturns,
    audit: found,
    stock,
    reconciliation: await client.ask(call, reconciliationSchema),
    retryCount: client.retryCount,
    killed: victims,
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
  /** No number of orders was meant to be posted. */
  readonly isEndless: boolean;
  readonly victims: readonly string[];
  readonly postingSeconds: number;
}

interface PostingOptions {
  readonly plan: Plan;
  readonly run: string;
  readonly options: RunOptions;
  readonly patienceMs: number;
  readonly progress: Progress;
  /** Waits until most of the orders are through. */
  readonly waitFor: (
    posted: readonly PostedOrder[],
    limits: { readonly restMax: number; readonly withinMs: number },
  ) => Promise<void>;
}

async function post(client: ShopClient, url: string, posting: PostingOptions): Promise<Posting> {
  const { options, waitFor } = posting;
  const faults = faultsOf(client, url, options);
  const background: Promise<void>[] = [];
  const trouble = options.trouble?.((name) => void background.push(faults.remind(name)));
  const startedAt = performance.now();
  try {
    await faults.apply();
    const onHalf = (): void => void background.push(faults.breakOff());
    const posted = await postLaps(client, url, posting, { over: trouble?.over, onHalf });
    const postingSeconds = (performance.now() - startedAt) / 1000;
    // Posting is quicker than what follows from it, and that is what the trouble is meant for.
    const goesOn = trouble !== undefined && trouble.over?.aborted !== true;
    const restMax = Math.floor(posted.orders.length / 4);
    if (goesOn || options.faults !== "none") {
      await waitFor(posted.orders, { restMax, withinMs: troubleWithinMs });
    }
    const isEndless = trouble?.over !== undefined;
    return { posted, isEndless, victims: trouble?.victims ?? [], postingSeconds };
  } finally {
    await trouble?.stop();
    await Promise.allSettled(background);
    await faults.clear();
  }
}

/** Posts the plan once, or again and again, each time under keys of its own, until `over`. */
async function postLaps(
  client: ShopClient,
  url: string,
  { plan, run, options, patienceMs, progress }: PostingOptions,
  { over, onHalf }: { readonly over: AbortSignal | undefined; readonly onHalf: () => void },
): Promise<PostedInvoices> {
  const { invoices } = plan;
  const { mode, concurrency } = options;
  const all: PostedInvoices = { orders: [], returns: [], isAnswering: true };
  let count = 0;
  const onPosted = (): void => {
    count += 1;
    const whole = over === undefined ? ` of ${invoices.length}` : "";
    progress.show(`posted ${count}${whole} invoices, ${client.retryCount} calls repeated`);
    if (count === Math.ceil(invoices.length / 2)) onHalf();
  };
  for (let lap = 1; ; lap += 1) {
    const own = { run: lap === 1 ? run : `${run}-${lap}`, signal: over };
    const rest = { url, mode, concurrency, patienceMs, onPosted };
    const posted = await postInvoices(client, invoices, { ...own, ...rest });
    all.orders.push(...posted.orders);
    all.returns.push(...posted.returns);
    const isDone = over === undefined || over.aborted || invoices.length === 0;
    if (isDone || !posted.isAnswering) return all;
  }
}

function faultsOf(client: ShopClient, url: string, options: RunOptions): Faults {
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
