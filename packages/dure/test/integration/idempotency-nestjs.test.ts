/** NestJS, on both of its platforms: whatever a method returns is stored before anybody sees it, or nothing is committed (laws H1, H4). */
import { request as httpRequest, type Server } from "node:http";
import { Readable } from "node:stream";
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KeyedTransaction } from "../../src/index.ts";
import { Idempotent, IdempotencyModule } from "../../src/http/nestjs/index.ts";
import type { NestDynamicModule, NestRequestShape } from "../../src/http/nestjs/index.ts";
import type { IdempotencyOptions } from "../../src/idempotency/index.ts";
import { needOutside } from "../support/outside-package.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { countOf, createOrderDatabase, itemsOf } from "./keyed-orders.ts";
import { createTestService, stepTaken, type TestService } from "./service-fixture.ts";

type Decorator = (target: object, name?: string, at?: never) => void;
type Parameter = (target: object, name: string, at: number) => void;

interface FastifyHooks {
  addHook(
    name: "onSend",
    hook: (request: unknown, reply: unknown, payload: unknown) => Promise<void>,
  ): void;
}

/** What is used of @nestjs/common. */
interface Common {
  Module(parts: object): Decorator;
  Controller(path?: string): Decorator;
  Post(path: string): Decorator;
  HttpCode(status: number): Decorator;
  Header(name: string, value: string): Decorator;
  UseInterceptors(...interceptors: unknown[]): Decorator;
  Body(...pipes: unknown[]): Parameter;
  Res(options?: { readonly passthrough: boolean }): Parameter;
  readonly StreamableFile: new (bytes: Uint8Array | Readable, options?: object) => object;
  readonly UnprocessableEntityException: new (message: string) => Error;
}

interface Rxjs {
  map(change: (value: unknown) => unknown): unknown;
}

interface NestApp {
  listen(port: number, host: string): Promise<unknown>;
  getUrl(): Promise<string>;
  getHttpServer(): Server;
  close(): Promise<void>;
}
interface Core {
  readonly NestFactory: {
    create(module: unknown, adapter: unknown, options: object): Promise<NestApp>;
  };
}

type Keyed = KeyedTransaction<pg.PoolClient> & { readonly idempotencyKey: string | undefined };
interface PassedResponse {
  status(code: number): PassedResponse;
  header(name: string, value: string | readonly string[]): PassedResponse;
  send(body: unknown): unknown;
}
/** A method with `@Body()`, `@Res({ passthrough: true })`, and what the decorator gives to it. */
type Handler = (body: unknown, response: PassedResponse, keyed: Keyed) => unknown;

interface Route {
  readonly handle: Handler;
  readonly options?: Partial<IdempotencyOptions<NestRequestShape>>;
  readonly decorators?: readonly Decorator[];
  readonly body?: Parameter;
  readonly response?: Parameter;
  /** Whether `@Post` stands below `@Idempotent`. */
  readonly isPostBelow?: boolean;
}

describe.each(["express", "fastify"])("NestJS on %s", (platform) => {
  let nest: Common;
  let core: Core;
  let rxjs: Rxjs;
  let adapter: unknown;
  let database: TestDatabase;
  let service: TestService;
  let app: NestApp | undefined;
  let base: string;

  beforeEach(async (context) => {
    nest = await needOutside<Common>(context, "frameworks", "@nestjs/common");
    core = await needOutside<Core>(context, "frameworks", "@nestjs/core");
    rxjs = await needOutside<Rxjs>(context, "frameworks", "rxjs");
    const name = `@nestjs/platform-${platform}`;
    const adapters = await needOutside<Record<string, new () => object>>(
      context,
      "frameworks",
      name,
    );
    const Adapter = adapters[platform === "express" ? "ExpressAdapter" : "FastifyAdapter"];
    if (Adapter === undefined) throw new Error(name);
    adapter = new Adapter();
    database = await createOrderDatabase(`keys nest ${platform}`);
    service = createTestService({ pool: database.pool, relay: false });
    complaints.length = 0;
  });
  afterEach(async () => {
    app?.getHttpServer().closeAllConnections();
    await app?.close();
    app = undefined;
    await service.stop();
    await database[Symbol.asyncDispose]();
  });

  const complaints: unknown[] = [];
  const complain = (...words: unknown[]): void => void complaints.push(words);
  const quiet = (): void => undefined;
  const complaining = { log: quiet, debug: quiet, error: complain, warn: complain };

  /** A controller whose methods write a row and then do what the route says. */
  async function serve(
    routes: Readonly<Record<string, Route>>,
    imports: NestDynamicModule[] = [IdempotencyModule.forRoot(service.dure)],
  ): Promise<void> {
    class Orders {}
    for (const [path, route] of Object.entries(routes)) {
      const { handle, options, decorators = [], isPostBelow = false } = route;
      Object.defineProperty(Orders.prototype, path, {
        configurable: true,
        writable: true,
        value: async (body: unknown, response: PassedResponse, keyed: Keyed) => {
          await keyed.tx.query("insert into orders (item) values ($1)", [path]);
          return handle(body, response, keyed);
        },
      });
      (route.body ?? nest.Body())(Orders.prototype, path, 0);
      (route.response ?? nest.Res({ passthrough: true }))(Orders.prototype, path, 1);
      const idempotent = Idempotent({ principal: () => "anyone", answerBytesMax: 1e4, ...options });
      const post = nest.Post(path);
      const above = isPostBelow ? [idempotent, post] : [post, idempotent];
      decorate([...above, ...decorators] as Decorator[], Orders.prototype, path);
    }
    decorate([nest.Controller()], Orders);
    class App {}
    decorate([nest.Module({ imports, controllers: [Orders] })], App);
    app = await core.NestFactory.create(App, adapter, { logger: complaining });
    await app.listen(0, "127.0.0.1");
    base = (await app.getUrl()).replace("[::1]", "127.0.0.1");
  }

  const post = (path: string, { key = path, body = '{"a":1}', type = "application/json" } = {}) =>
    fetch(`${base}/${path}`, {
      method: "POST",
      headers: { "content-type": type, ...(key !== "" && { "idempotency-key": key }) },
      body,
    });

  it("answers once, gives the transaction to the method, and replays the very bytes", async () => {
    const hooked: unknown[] = [];
    (adapter as { readonly instance: Partial<FastifyHooks> }).instance.addHook?.(
      "onSend",
      async (_request, _reply, payload) => {
        await new Promise(setImmediate);
        hooked.push(payload);
      },
    );
    await serve({
      create: {
        handle(body, response, { tx, idempotencyKey }) {
          tx.emit(stepTaken, { key: "tea", n: 1 });
          response.header("location", "/orders/1").header("set-cookie", ["a=1", "b=2"]);
          return { body, idempotencyKey };
        },
      },
    });
    const [first, again] = [await post("create"), await post("create")];
    const text = '{"body":{"a":1},"idempotencyKey":"create"}';
    expect([first.status, await first.text()]).toEqual([201, text]);
    expect([again.status, await again.text()]).toEqual([201, text]);
    // Fastify's hooks see one answer to each request.
    expect(hooked).toEqual(platform === "fastify" ? [text, text] : []);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(again.headers.get("location")).toBe("/orders/1");
    expect([first, again].map(({ headers }) => headers.getSetCookie())).toEqual([
      ["a=1", "b=2"],
      [],
    ]);
    expect((await post("create", { body: '{"a":2}' })).status).toBe(422);
    expect(await (await post("create", { key: "" })).json()).toMatchObject({
      status: 400,
      code: "IDEMPOTENCY_KEY_MISSING",
    });
    expect(await itemsOf(database.pool)).toEqual(["create"]);
    expect(await countOf(database.pool, "dure.outbox_message")).toBe(1);
  });

  const ways: Readonly<Record<string, { readonly handle: Handler; readonly says: string }>> = {
    object: { handle: () => ({ id: 1 }), says: '201 {"id":1}' },
    text: { handle: () => "text", says: "201 text" },
    number: { handle: () => 5, says: "201 5" },
    bytes: {
      handle(_body, response) {
        // Of other bytes than those that are sent.
        response.header("content-type", "image/x-dots").header("content-length", "2");
        return Buffer.from("dot\n");
      },
      says: "201 dot\n",
    },
    file: {
      handle: () => new nest.StreamableFile(Readable.from([Buffer.from("a"), Buffer.from("b")])),
      says: "201 ab",
    },
    nothing: { handle: (_body, response) => void response.status(204), says: "204 " },
    refusal: {
      handle(_body, response) {
        response.status(422);
        return { reason: "out of stock" };
      },
      says: '422 {"reason":"out of stock"}',
    },
  };

  it.each(Object.keys(ways))(
    "a method may return %s, and the repeat gets the very same",
    async (way) => {
      const { handle, says } = ways[way] ?? { handle: () => way };
      const header = nest.Header("x-fresh", "1");
      await serve({ [way]: { handle, decorators: [header], isPostBelow: true } });
      const [first, again] = [await post(way), await post(way)];
      expect(first.headers.get("idempotent-replayed")).toBeNull();
      expect(again.headers.get("idempotent-replayed")).toBe("true");
      for (const name of ["content-type", "content-length", "x-fresh"]) {
        expect(again.headers.get(name), name).toBe(first.headers.get(name));
      }
      expect(`${first.status} ${await first.text()}`).toBe(says);
      expect(`${again.status} ${await again.text()}`).toBe(says);
      expect(complaints).toEqual([]);
      expect(await itemsOf(database.pool)).toEqual(way === "refusal" ? [] : [way]);
    },
  );

  it("an interceptor of the method shapes the answer, and a pipe's refusal is not stored", async () => {
    let isOpen = false;
    const wrapping = {
      intercept: (_: unknown, next: { handle(): { pipe(operator: unknown): unknown } }) =>
        next.handle().pipe(rxjs.map((data) => ({ data }))),
    };
    const pipe = {
      transform(body: unknown) {
        if (isOpen) return body;
        throw new nest.UnprocessableEntityException("closed");
      },
    };
    const route = { handle: () => 1, decorators: [nest.UseInterceptors(wrapping)] };
    await serve({ piped: { ...route, body: nest.Body(pipe) } });
    const refused = await post("piped");
    expect([refused.status, await refused.json()]).toMatchObject([422, { message: "closed" }]);
    isOpen = true;
    expect(await (await post("piped")).text()).toBe('{"data":1}');
    isOpen = false;
    expect(await (await post("piped")).text()).toBe('{"data":1}');
  });

  it("an error after the side effect is the filters', leaves nothing, and is stored only where a route says so", async () => {
    let count = 0;
    const handle = () => {
      count += 1;
      throw new nest.UnprocessableEntityException(`refused ${count}`);
    };
    const replyOfError = (error: unknown) => ({ status: 422, body: String(error) });
    await serve({ plain: { handle }, stored: { handle, options: { replyOfError } } });
    const plain = [await post("plain"), await post("plain")];
    const messages = plain.map(
      async (each) => ((await each.json()) as { message: string }).message,
    );
    expect(plain.map(({ status }) => status)).toEqual([422, 422]);
    expect(await Promise.all(messages)).toEqual(["refused 1", "refused 2"]);
    const stored = [await (await post("stored")).text(), await (await post("stored")).text()];
    expect(new Set(stored)).toEqual(new Set(["UnprocessableEntityException: refused 3"]));
    expect(await itemsOf(database.pool)).toEqual([]);
  });

  it("an answer too large, or past the wrapper, is an error that says so, and nothing is committed", async () => {
    await serve({
      large: { handle: () => "x".repeat(10_001) },
      endless: { handle: () => new nest.StreamableFile(Readable.from(endless())) },
      past: { handle: (_, response) => void response.send("past"), response: nest.Res() },
    });
    for (const path of ["large", "endless", "past"]) {
      const answer = await post(path);
      const isPast = path === "past";
      expect([answer.status, isPast && (await answer.text())]).toEqual(
        isPast ? [201, "past"] : [500, false],
      );
    }
    await expect.poll(() => countOf(database.pool, "dure.idempotency_record")).toBe(0);
    expect(await itemsOf(database.pool)).toEqual([]);
  });

  it("a caller that hangs up does not stop the work, and the repeat gets its answer", async () => {
    const begun = Promise.withResolvers<void>();
    const hungUp = Promise.withResolvers<void>();
    await serve({
      slow: {
        async handle() {
          begun.resolve();
          await hungUp.promise;
          return { id: 1 };
        },
      },
    });
    app?.getHttpServer().once("connection", (socket) => {
      socket.once("close", () => hungUp.resolve());
    });
    const caller = httpRequest(`${base}/slow`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "slow" },
    });
    caller.on("error", () => {});
    caller.end('{"a":1}');
    await begun.promise;
    caller.destroy();
    await hungUp.promise;
    const again = await post("slow");
    expect([again.status, await again.text()]).toEqual([201, '{"id":1}']);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(await itemsOf(database.pool)).toEqual(["slow"]);
  });

  it("the service may be one that Nest makes", async () => {
    class Services {}
    const providers = [{ provide: "DURE", useFactory: async () => service.dure }];
    decorate([nest.Module({ providers, exports: ["DURE"] })], Services);
    const asynchronous = IdempotencyModule.forRootAsync({
      imports: [Services],
      inject: ["DURE"],
      useFactory: (dure: TestService["dure"]) => dure,
    });
    await serve({ made: { handle: () => 1 } }, [asynchronous]);
    expect([await (await post("made")).text(), await (await post("made")).text()]).toEqual([
      "1",
      "1",
    ]);
    expect(await itemsOf(database.pool)).toEqual(["made"]);
  });

  it("without its module, or with two, a request is refused and not carried out", async () => {
    const handled: unknown[] = [];
    const handle = () => handled.push(1);
    await serve({ alone: { handle } }, []);
    expect((await post("alone")).status).toBe(500);
    await app?.close();
    const once = (): NestDynamicModule => IdempotencyModule.forRoot(service.dure);
    adapter = Reflect.construct((adapter as object).constructor as new () => object, []);
    await serve({ twice: { handle } }, [once(), once()]);
    expect((await post("twice")).status).toBe(500);
    expect(handled).toEqual([]);
    expect(await itemsOf(database.pool)).toEqual([]);
  });
});

/** As TypeScript applies decorators to a class or a method: the lowest first. */
function decorate(decorators: readonly Decorator[], target: object, name?: string): void {
  const descriptor = name === undefined ? undefined : Object.getOwnPropertyDescriptor(target, name);
  for (const each of decorators.toReversed()) each(target, name, descriptor as never);
  if (name !== undefined && descriptor !== undefined) {
    Object.defineProperty(target, name, descriptor);
  }
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(1_000);
}
