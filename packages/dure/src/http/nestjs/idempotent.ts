import { AsyncLocalStorage } from "node:async_hooks";
import { DureError } from "../../core/errors.ts";
import type { HandlerFacts } from "../../idempotency/answer-once.ts";
import { readIdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type {
  IdempotencyOptions,
  IdempotencySettings,
} from "../../idempotency/idempotency-options.ts";
import type { NestRequestShape } from "./nest-exchange.ts";

/** Any method of a controller. */
type Method = (...args: never[]) => unknown;

/** A request that is being carried out, and what its handler is given. */
export interface NestWork {
  readonly request: unknown;
  readonly facts: HandlerFacts;
}

/** What a decorated method is called within. One for all modules: decorators run before there is any. */
export const currentWork: AsyncLocalStorage<NestWork> = new AsyncLocalStorage();

/**
 * A decorator for a method of a NestJS controller, which is then carried out once per principal and key. The
 * method gets one argument more, after those that its parameters' decorators ask for: the transaction `tx`, and the rest of
 * what the store hands to a handler. What it writes and emits through `tx` commits together with the key and the
 * answer, or not at all.
 *
 * The answer is what Nest would make of it: the value that is returned (an object, text, bytes, a `StreamableFile`,
 * an Observable's last value), the status of `@HttpCode` or of a response with `passthrough`, and the headers
 * that are set. A status of 400 or more takes all writes back. What is thrown goes to Nest's exception filters, with
 * all writes taken back and nothing stored; `replyOfError` makes it an answer that is. Text is `text/plain`
 * where no type is set. Not for `@Redirect`, `@Render` and `@Sse`.
 *
 * Guards run before, so that `principal` finds what they set; pipes run inside, so that an invalid body is not
 * stored. The fingerprint is of the body as it was parsed. Interceptors of the controller and of the method run inside
 * and shape the answer. Those around the whole application that Nest runs earlier see no value.
 *
 * @throws CONFIGURATION_INVALID at once, naming every mistake in the options; by each request, when
 * `IdempotencyModule` is not imported: it is never carried out unprotected
 */
export function Idempotent<Request = NestRequestShape>(
  options: IdempotencyOptions<Request>,
): <Decorated extends Method>(
  target: object,
  name: string | symbol,
  descriptor: TypedPropertyDescriptor<Decorated>,
) => void {
  const settings = readIdempotencyOptions(options);
  return (_target, name, descriptor) => {
    const method = descriptor.value as ((...args: unknown[]) => unknown) | undefined;
    if (method === undefined) throw misplaced(String(name));
    const guarded = function (this: unknown, ...args: unknown[]): unknown {
      const work = currentWork.getStore();
      if (work === undefined) throw unprotected(String(name));
      return method.call(this, ...args, work.facts);
    };
    const metadata = reflectMetadata();
    // What the decorators below this one said of the method.
    for (const key of metadata.getOwnMetadataKeys(method)) {
      metadata.defineMetadata(key, metadata.getMetadata(key, method), guarded);
    }
    metadata.defineMetadata(settingsKey, settings, guarded);
    Object.defineProperty(guarded, "name", { value: method.name });
    // It takes what the method takes.
    descriptor.value = guarded as unknown as NonNullable<typeof descriptor.value>;
  };
}

/** What a method is decorated with, if it is. Decorators above that copy metadata, as Nest asks, keep it. */
export function settingsOf(handler: object): IdempotencySettings<unknown> | undefined {
  return reflectMetadata().getMetadata(settingsKey, handler) as
    | IdempotencySettings<unknown>
    | undefined;
}

const settingsKey = "dure:idempotent";

/** What the package reflect-metadata, without which Nest does not run, adds to `Reflect`. */
interface ReflectMetadata {
  defineMetadata(key: unknown, value: unknown, target: object): void;
  getMetadata(key: unknown, target: object): unknown;
  getOwnMetadataKeys(target: object): readonly unknown[];
}

function reflectMetadata(): ReflectMetadata {
  const reflect = Reflect as unknown as Partial<ReflectMetadata>;
  if (typeof reflect.defineMetadata === "function") return reflect as ReflectMetadata;
  throw new DureError(
    "CONFIGURATION_INVALID",
    'Idempotent: there is no Reflect.defineMetadata; import "reflect-metadata" or @nestjs/common first',
  );
}

function misplaced(name: string): DureError {
  return new DureError(
    "CONFIGURATION_INVALID",
    `Idempotent: ${name} is no method; put it above a method of a controller`,
  );
}

function unprotected(name: string): DureError {
  return new DureError(
    "CONFIGURATION_INVALID",
    `Idempotent: ${name} was called outside of a request with a key, so it was not carried out; import IdempotencyModule.forRoot(dure) into the application's module`,
  );
}
