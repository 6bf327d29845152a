import { createDure } from "dure";
import type { Dure, EventDefinition, Message, Transport } from "dure";
import { migrate, postgresStore, postgresTransport } from "dure/postgres";
import type { Pool, PoolClient } from "pg";
import { vi } from "vitest";
import { shopEvents } from "../../contracts/events.ts";
import { portOffsets } from "../config.ts";
import type { RunningService, ServiceConfig, ServiceName } from "../config.ts";
import { delegationHeaders } from "../principal.ts";
import type { Principal } from "../principal.ts";
import { createServiceTokens } from "../service-token.ts";
import { createTestDatabase } from "./test-database.ts";
import { testAuth } from "./test-server.ts";

/** An answer with its body read. */
export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** An event that came over the bus. */
export interface HeardEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** One service of the shop on databases of its own, and a stranger on the bus who plays the others. */
export interface ServiceUnderTest {
  readonly url: string;
  readonly config: ServiceConfig;
  /** The service's database. */
  readonly pool: Pool;
  /** Everything that was heard on the bus so far. */
  readonly heard: readonly HeardEvent[];
  /** Calls the service with a service's token. */
  call(path: string, init?: RequestInit, principal?: Principal): Promise<Answer>;
  put(path: string, body: unknown, principal?: Principal): Promise<Answer>;
  /** Emits events as another service would, in one commit. */
  emit<Input, Output>(definition: EventDefinition<Input, Output>, ...data: Input[]): Promise<void>;
  /** Publishes all that the stranger has published so far once more, with the same ids. */
  publishAllAgain(): Promise<void>;
  /** Waits for the event of the type about the order. */
  hears(type: string, orderId: string): Promise<HeardEvent>;
  /** Stops the service alone. */
  stop(): Promise<void>;
  /** Stops everything; fails if connections were left behind. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a service against fresh databases. */
export async function startUnderTest(
  name: ServiceName,
  start: (config: ServiceConfig) => Promise<RunningService>,
  overrides: Partial<ServiceConfig> = {},
): Promise<ServiceUnderTest> {
  await using starting = new AsyncDisposableStack();
  const own = starting.use(await createTestDatabase(name));
  const bus = starting.use(await createTestDatabase(`${name}_bus`));
  await migrate({ pool: bus.pool });
  const config = configOf(name, { databaseUrl: own.url, busUrl: bus.url, ...overrides });
  const service = await start(config);
  starting.defer(() => service.stop());
  const heard: HeardEvent[] = [];
  const published: Message[] = [];
  const transport = recording(postgresTransport({ pool: bus.pool }), published);
  starting.defer(() => transport.close());
  const peer = await startPeer(bus.pool, transport, heard);
  starting.defer(async () => void (await peer.stop()));
  const resources = starting.move();
  const call = callerOf(service.url);
  return {
    url: service.url,
    config,
    pool: own.pool,
    heard,
    call,
    put: (path, body, principal) =>
      call(path, { method: "PUT", body: JSON.stringify(body) }, principal),
    emit: (definition, ...data) =>
      peer.transaction(async (tx) => {
        for (const each of data) tx.emit(definition, each);
      }),
    publishAllAgain: async () => {
      const options = { fences: [], signal: AbortSignal.timeout(5000) };
      await transport.publish([...published], options);
    },
    hears: (type, orderId) =>
      eventually(
        () => heard.find((event) => event.type === type && event.data["orderId"] === orderId),
        `${type} of ${orderId}`,
      ),
    stop: () => service.stop(),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Asks until there is an answer, for ten seconds. */
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
    { timeout: 10_000, interval: 20 },
  );
}

function configOf(name: ServiceName, given: Partial<ServiceConfig>): ServiceConfig {
  const url = "http://127.0.0.1:1";
  const peers = Object.fromEntries(Object.keys(portOffsets).map((peer) => [peer, url]));
  return {
    name,
    host: "127.0.0.1",
    port: 0,
    databaseUrl: "",
    busUrl: "",
    peers: peers as ServiceConfig["peers"],
    auth: testAuth,
    demo: true,
    rateLimit: false,
    poolMax: 10,
    logLevel: "silent",
    ...given,
  };
}

function callerOf(url: string): ServiceUnderTest["call"] {
  const tokens = createServiceTokens(testAuth, "gateway");
  return async (path, init = {}, principal) => {
    const headers = {
      authorization: `Bearer ${await tokens.current()}`,
      "content-type": "application/json",
      ...(principal === undefined ? {} : delegationHeaders(principal)),
    };
    const response = await fetch(url + path, { headers, ...init });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
}

async function startPeer(
  pool: Pool,
  transport: Transport,
  heard: HeardEvent[],
): Promise<Dure<PoolClient>> {
  const store = postgresStore<PoolClient>({ pool });
  const peer = createDure({ service: "stranger", store, transport, contracts: shopEvents });
  for (const definition of shopEvents) {
    peer.on(definition as EventDefinition, {}, ({ type, data }) => {
      heard.push({ type, data: data as HeardEvent["data"] });
    });
  }
  await peer.start();
  return peer;
}

function recording(transport: Transport, published: Message[]): Transport {
  return {
    name: transport.name,
    subscribe: (options) => transport.subscribe(options),
    check: () => transport.check(),
    close: () => transport.close(),
    publish(messages, options) {
      // What is published again must not be recorded again.
      if (options.fences.length > 0) published.push(...messages);
      return transport.publish(messages, options);
    },
  };
}
