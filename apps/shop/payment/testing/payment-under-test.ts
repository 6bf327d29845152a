import { createDure } from "dure";
import type { EventDefinition, EventInput } from "dure";
import { migrate, postgresStore, postgresTransport } from "dure/postgres";
import type { Pool, PoolClient } from "pg";
import { vi } from "vitest";
import type { z } from "zod";
import { portOffsets } from "../../chassis/config.ts";
import type { RunningService, ServiceConfig, ServiceName } from "../../chassis/config.ts";
import { createServiceTokens } from "../../chassis/service-token.ts";
import { createTestDatabase } from "../../chassis/testing/test-database.ts";
import { testAuth } from "../../chassis/testing/test-server.ts";
import { PaymentCompleted, PaymentFailed, PaymentRefunded } from "../../contracts/events.ts";
import type { OrderCreated } from "../../contracts/events.ts";
import { PaymentsPage } from "../../contracts/http/internal.ts";
import { startPayment } from "../main.ts";
import type { PaymentOptions } from "../start-provider-side.ts";

/** An event that payment emitted. */
export interface HeardEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Payment's databases, a stranger on the bus who plays the others, and any number of instances. */
export interface PaymentUnderTest {
  readonly config: ServiceConfig;
  /** Payment's own database. */
  readonly pool: Pool;
  readonly heard: readonly HeardEvent[];
  /** Starts an instance that is stopped with everything else. */
  start(options?: PaymentOptions, overrides?: Partial<ServiceConfig>): Promise<RunningService>;
  emit<Input, Output>(definition: EventDefinition<Input, Output>, ...data: Input[]): Promise<void>;
  /** Waits for the event of the type about the order. */
  hears(type: string, orderId: string): Promise<HeardEvent>;
  /** What was heard about the order, by type, in order. */
  heardOf(orderId: string): readonly string[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Tests break the provider on purpose, and want it back soon. */
const breakerOpenMs = 200;

/** Makes the surroundings; no instance runs yet. */
export async function preparePayment(providerUrl: string): Promise<PaymentUnderTest> {
  await using starting = new AsyncDisposableStack();
  const own = starting.use(await createTestDatabase("payment"));
  const bus = starting.use(await createTestDatabase("payment_bus"));
  await migrate({ pool: bus.pool });
  const config = configFor("payment", own.url, { busUrl: bus.url, providerUrl });
  const heard: HeardEvent[] = [];
  const stranger = await startStranger(bus.pool, heard, starting);
  const resources = starting.move();
  return {
    config,
    pool: own.pool,
    heard,
    async start(options, overrides) {
      const service = await startPayment(
        { ...config, ...overrides },
        { breakerOpenMs, ...options },
      );
      resources.defer(() => service.stop());
      return service;
    },
    emit: (definition, ...data) =>
      stranger.transaction(async (tx) => {
        for (const each of data) tx.emit(definition, each);
      }),
    hears: (type, orderId) =>
      eventually(
        () => heard.find((event) => event.type === type && event.data["orderId"] === orderId),
        `${type} of ${orderId}`,
      ),
    heardOf: (orderId) =>
      heard.filter((event) => event.data["orderId"] === orderId).map((event) => event.type),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** A configuration for tests: loopback, any port, silent. */
export function configFor(
  name: ServiceName,
  databaseUrl: string,
  urls: { readonly busUrl?: string; readonly providerUrl?: string } = {},
): ServiceConfig {
  const nowhere = "http://127.0.0.1:1";
  const peers = Object.fromEntries(Object.keys(portOffsets).map((peer) => [peer, nowhere]));
  return {
    name,
    host: "127.0.0.1",
    port: 0,
    databaseUrl,
    busUrl: urls.busUrl ?? databaseUrl,
    peers: {
      ...(peers as ServiceConfig["peers"]),
      provider: urls.providerUrl ?? nowhere,
    },
    auth: testAuth,
    demo: true,
    rateLimit: false,
    poolMax: 12,
    logLevel: "silent",
  };
}

async function startStranger(
  pool: Pool,
  heard: HeardEvent[],
  resources: AsyncDisposableStack,
): Promise<ReturnType<typeof createDure<PoolClient>>> {
  const transport = postgresTransport({ pool });
  resources.defer(() => transport.close());
  const stranger = createDure({
    service: "stranger",
    store: postgresStore<PoolClient>({ pool }),
    transport,
  });
  const listen = <Data>(definition: EventDefinition<Data>): void =>
    stranger.on(definition, {}, ({ type, data }) => {
      heard.push({ type, data: data as HeardEvent["data"] });
    });
  listen(PaymentCompleted);
  listen(PaymentFailed);
  listen(PaymentRefunded);
  await stranger.start();
  resources.defer(async () => void (await stranger.stop()));
  return stranger;
}

/** Asks until there is an answer, for fifteen seconds. */
export function eventually<T>(
  ask: () => T | undefined | Promise<T | undefined>,
  what: string,
): Promise<T> {
  return vi.waitFor(
    async () => {
      const answer = await ask();
      if (answer === undefined) throw new Error(`waited in vain for ${what}`);
      return answer;
    },
    { timeout: 15_000, interval: 20 },
  );
}

/** Asks a service as another service would. */
export async function callAsService(service: RunningService, path: string): Promise<unknown> {
  const token = await createServiceTokens(testAuth, "gateway").current();
  const answer = await fetch(service.url + path, { headers: { authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** The order's payment, as other services see it. */
export async function paymentOf(
  service: RunningService,
  orderId: string,
): Promise<z.infer<typeof PaymentsPage>["payments"][number] | undefined> {
  const page = PaymentsPage.parse(await callAsService(service, "/internal/payments?limit=5000"));
  return page.payments.find((payment) => payment.orderId === orderId);
}

let orderCount = 0;

/** A new order of 500 pence, as `order.created` tells of it. */
export function newOrder(token = "tok_visa"): EventInput<typeof OrderCreated> {
  const orderId = `O-${String((orderCount += 1)).padStart(4, "0")}`;
  return {
    orderId,
    sagaId: `SAGA-${orderId}`,
    userId: "ada",
    amount: 500,
    currency: "GBP",
    items: [{ productId: "p-1", quantity: 2, unitPrice: 250 }],
    payment: { method: "CARD", token },
  };
}

/** What every event of a checkout says, and so a compensating one of an order. */
export interface CheckoutIds {
  readonly orderId: string;
  readonly sagaId: string;
}

/** The ids of an order, for an event that undoes it. */
export function undoing({ orderId, sagaId }: CheckoutIds): CheckoutIds {
  return { orderId, sagaId };
}
