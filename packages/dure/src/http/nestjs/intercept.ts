import { DureError } from "../../core/errors.ts";
import { notStorable } from "../../idempotency/answer.ts";
import type { Reply } from "../../idempotency/answer.ts";
import { answerOnce } from "../../idempotency/answer-once.ts";
import type { IdempotencySettings } from "../../idempotency/idempotency-options.ts";
import { answerOfProblem, keyProblem } from "../../idempotency/key-problem.ts";
import type { Answer, IdempotentService } from "../../idempotency/keyed-request.ts";
import { headerValues } from "../raw-headers.ts";
import { currentWork, settingsOf } from "./idempotent.ts";
import { exchangeOf } from "./nest-exchange.ts";
import type { NestExchange, NestRequestShape } from "./nest-exchange.ts";

/** The part of Nest's `ExecutionContext` that is used. */
interface NestContextShape {
  getType(): string;
  getHandler(): object;
  switchToHttp(): { getRequest(): unknown; getResponse(): unknown };
}

/** The part of Nest's `CallHandler` that is used. */
interface NestNextShape {
  handle(): NestObservable;
}

/** The part of an Observable that is used. */
interface NestObservable {
  subscribe(observer: {
    next(value: unknown): void;
    error(error: unknown): void;
    complete(): void;
  }): unknown;
}

/** A Nest interceptor by its shape. */
export interface NestInterceptorShape {
  intercept(context: NestContextShape, next: NestNextShape): Promise<unknown>;
}

/** Carries decorated methods out once; all others pass. */
export function interceptWith<Context>(service: IdempotentService<Context>): NestInterceptorShape {
  return {
    async intercept(context, next) {
      const settings = settingsOf(context.getHandler());
      if (settings === undefined) return next.handle();
      if (context.getType() !== "http") {
        throw misused("it is for routes of HTTP alone");
      }
      const http = context.switchToHttp();
      const request = http.getRequest() as NestRequestShape;
      if (currentWork.getStore()?.request === request) {
        throw misused("IdempotencyModule is imported twice; import it into one module");
      }
      const exchange = exchangeOf(request, http.getResponse());
      const answer = await answerOf(service, { settings, request, exchange, next });
      // Someone who did not want to wait may have answered: a time-out around the application.
      if (!exchange.hasAnswered()) exchange.send(answer);
      // One value, which RxJS reads of a list as of an Observable. Nobody is to send it.
      return [undefined];
    },
  };
}

interface Route {
  readonly settings: IdempotencySettings<unknown>;
  readonly request: NestRequestShape;
  readonly exchange: NestExchange;
  readonly next: NestNextShape;
}

async function answerOf<Context>(
  service: IdempotentService<Context>,
  { settings, request, exchange, next }: Route,
): Promise<Answer> {
  const content = await exchange.content(settings.bodyBytesMax);
  if (content === "too-large") {
    const detail = `A body may have ${settings.bodyBytesMax} bytes.`;
    return answerOfProblem(keyProblem("PAYLOAD_TOO_LARGE", detail));
  }
  return answerOnce<unknown, Context>({
    keys: service.idempotency,
    settings,
    incoming: {
      request,
      method: request.method,
      route: exchange.route,
      header: (name) => headerValues(exchange.rawHeaders, name),
      content: content.body,
    },
    async work(facts) {
      // Nest calls pipes and method in the context in which `handle` is called.
      const value = await currentWork.run({ request, facts }, () => lastValueOf(next.handle()));
      if (exchange.hasAnswered()) {
        throw notStorable("a handler answered through the route's own response");
      }
      return replyOf(value, exchange);
    },
  });
}

/** To the end, also when the caller hangs up: nothing unsubscribes. */
function lastValueOf(observable: NestObservable): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let last: unknown;
    observable.subscribe({
      next(value) {
        last = value;
      },
      error: reject,
      complete: () => resolve(last),
    });
  });
}

function replyOf(value: unknown, exchange: NestExchange): Reply {
  const { status, headers } = exchange.head();
  if (!isFile(value)) return { status, headers, body: value };
  const { type, disposition } = value.getHeaders();
  const own = { "content-type": type, "content-disposition": disposition };
  return { status, headers: { ...own, ...headers }, body: value.getStream() };
}

/** Nest's `StreamableFile`. */
interface NestFile {
  getStream(): unknown;
  getHeaders(): { readonly type?: string; readonly disposition?: string | string[] };
}

function isFile(value: unknown): value is NestFile {
  const file = value as Partial<NestFile> | null | undefined;
  return typeof file?.getStream === "function" && typeof file.getHeaders === "function";
}

function misused(what: string): DureError {
  return new DureError("CONFIGURATION_INVALID", `Idempotent: ${what}`);
}
