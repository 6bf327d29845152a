import { createDure } from "dure";
import type { Dure } from "dure";
import { migrate, postgresStore, postgresTransport } from "dure/postgres";
import type { PoolClient } from "pg";
import { playParticipants } from "./played-participants.ts";
import type { PlayedParticipants } from "./played-participants.ts";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createTestDatabase } from "../../chassis/testing/test-database.ts";
import type { TestDatabase } from "../../chassis/testing/test-database.ts";
import { portOffsets } from "../../chassis/config.ts";
import type { RunningService, ServiceConfig } from "../../chassis/config.ts";
import { createServiceTokens } from "../../chassis/service-token.ts";
import { testAuth } from "../../chassis/testing/test-server.ts";
import { OrderCanceled, OrderCompleted, OrderCreated, shopEvents } from "../../contracts/events.ts";
import { acceptedOrderSchema, orderViewSchema } from "../../contracts/http/orders.ts";
import type { AcceptedOrder, NewOrder, OrderView } from "../../contracts/http/orders.ts";
import { startOrder } from "../main.ts";
import type { OrderTiming } from "../main.ts";

/** An answer of the service under test. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly body: unknown;
  readonly headers: Headers;
}

/** A call to the service under test, in a user's name, as the gateway makes it. */
export interface Call {
  readonly method?: string;
  readonly userId?: string;
  readonly roles?: string;
  readonly key?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An order service on databases of its own, with the other services played by the test. */
export interface OrderWorld extends AsyncDisposable {
  readonly service: RunningService;
  readonly database: TestDatabase;
  /** All other services in one: publishes their events, hears those of the order service. */
  readonly others: Dure<PoolClient>;
  /** Events of the order service as `type orderId`, as they arrive. */
  readonly heard: string[];
  /** What the other services answer over HTTP: JSON by path, without the query; else 404. */
  readonly answers: Map<string, (url: URL) => unknown>;
  /** What the participants of sagas were asked for, and what they answer. */
  readonly participants: PlayedParticipants;
  call(path: string, call?: Call): Promise<Answer>;
  /** Places `someOrder`, with a new key unless the call has one. */
  place(call?: Call): Promise<AcceptedOrder>;
  /** The order as a merchant sees it. */
  read(orderId: string): Promise<OrderView>;
}

/** Starts it all; disposing fails when connections are left. */
export async function createOrderWorld(timing: OrderTiming = {}): Promise<OrderWorld> {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase("order"));
  const bus = stack.use(await createTestDatabase("order_bus"));
  const othersDatabase = stack.use(await createTestDatabase("order_others"));
  const answers: OrderWorld["answers"] = new Map();
  const participants = playParticipants();
  const peers = await startPeers(answers, participants);
  stack.defer(() => closeServer(peers));
  const { port } = peers.address() as AddressInfo; // it listens on TCP
  const service = await startOrder(configOf(database.url, bus.url, port), timing);
  stack.defer(() => service.stop());

  await migrate({ pool: bus.pool });
  await migrate({ pool: othersDatabase.pool });
  const transport = postgresTransport({ pool: bus.pool });
  stack.defer(() => transport.close());
  const others = createDure({
    service: "others",
    store: postgresStore<PoolClient>({ pool: othersDatabase.pool }),
    transport,
    contracts: shopEvents,
  });
  stack.defer(async () => {
    await others.stop();
  });
  const heard: string[] = [];
  for (const definition of [OrderCreated, OrderCompleted, OrderCanceled] as const) {
    others.on<{ orderId: string }, { orderId: string }>(
      // Their data differ; all have the order's id.
      definition as unknown as Parameters<
        typeof others.on<{ orderId: string }, { orderId: string }>
      >[0],
      {},
      (message) => void heard.push(`${message.type} ${message.data.orderId}`),
    );
  }
  await others.start();
  const resources = stack.move();
  const call: OrderWorld["call"] = (path, init) => callService(service.url + path, init);
  let keyCount = 0;
  return {
    service,
    database,
    others,
    heard,
    answers,
    participants,
    call,
    async place(init) {
      const key = `place-${(keyCount += 1)}`;
      const answer = await call("/orders", { method: "POST", key, body: someOrder, ...init });
      return acceptedOrderSchema.parse(answer.body);
    },
    async read(orderId) {
      const answer = await call(`/orders/${orderId}`, { roles: "merchant" });
      return orderViewSchema.parse(answer.body);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function callService(url: string, call: Call = {}): Promise<Answer> {
  const { method = "GET", userId = "ada", roles = "customer", key, body, headers } = call;
  const token = await createServiceTokens(testAuth, "gateway").current();
  const response = await fetch(url, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      "x-user-id": encodeURIComponent(userId),
      "x-user-roles": roles,
      ...(key === undefined ? {} : { "idempotency-key": `"${key}"` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") === true;
  return {
    status: response.status,
    text,
    body: isJson ? (JSON.parse(text) as unknown) : undefined,
    headers: response.headers,
  };
}

function configOf(databaseUrl: string, busUrl: string, peerPort: number): ServiceConfig {
  const url = `http://127.0.0.1:${peerPort}`;
  const peers = Object.fromEntries(
    Object.keys(portOffsets).map((name) => [name, `${url}/${name}`]),
  );
  return {
    name: "order",
    host: "127.0.0.1",
    port: 0,
    databaseUrl,
    busUrl,
    peers: peers as ServiceConfig["peers"], // its keys are all services
    auth: testAuth,
    demo: true,
    rateLimit: false,
    poolMax: 10,
    logLevel: process.env["TEST_LOG"] ?? "silent",
  };
}

async function startPeers(
  answers: OrderWorld["answers"],
  participants: PlayedParticipants,
): Promise<Server> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://peers");
    if (request.method === "POST") return void participants.answer(request, response);
    const answer = answers.get(url.pathname);
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer === undefined ? {} : answer(url)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

/** A body that is accepted; the services follow its events. */
export const someOrder: NewOrder = {
  mode: "choreography",
  items: [
    { productId: "tea", quantity: 2, unitPrice: 150 },
    { productId: "cup", quantity: 1, unitPrice: 700 },
    { productId: "tea", quantity: 1, unitPrice: 100 },
  ],
  currency: "GBP",
};
