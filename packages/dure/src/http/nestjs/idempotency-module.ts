import type { IdempotentService } from "../../idempotency/keyed-request.ts";
import { interceptWith } from "./intercept.ts";
import type { NestInterceptorShape } from "./intercept.ts";

/** A module as Nest's `imports` take it. */
export interface NestDynamicModule {
  module: new () => IdempotencyModule;
  imports: never[];
  providers: NestProvider[];
}

interface NestProvider {
  provide: string;
  useFactory: (...injected: never[]) => Promise<NestInterceptorShape>;
  inject: never[];
}

/** Where the service comes from, when other modules provide it. */
export interface IdempotencyModuleAsync<Injected extends readonly unknown[], Context> {
  /** The modules that provide it, as Nest takes them. */
  readonly imports?: readonly unknown[];
  /** What `useFactory` is given, by Nest's tokens. */
  readonly inject?: readonly unknown[];
  readonly useFactory: (
    ...injected: Injected
  ) => IdempotentService<Context> | Promise<IdempotentService<Context>>;
}

/**
 * What makes methods with `@Idempotent` run once: imported one time, into the module of the application. Starting and
 * stopping the service stay yours.
 */
export class IdempotencyModule {
  /** The module around a service that there is already. */
  static forRoot<Context>(service: IdempotentService<Context>): NestDynamicModule {
    return IdempotencyModule.forRootAsync({ useFactory: () => service });
  }

  /** The module around a service that Nest makes. */
  static forRootAsync<Injected extends readonly unknown[], Context>(
    options: IdempotencyModuleAsync<Injected, Context>,
  ): NestDynamicModule {
    const { imports = [], inject = [], useFactory } = options;
    const make = async (...injected: never[]): Promise<NestInterceptorShape> =>
      interceptWith(await useFactory(...(injected as unknown as Injected)));
    return {
      module: IdempotencyModule,
      imports: imports as never[],
      // The value of Nest's APP_INTERCEPTOR: it stands around all routes, and lets those without decorator pass.
      providers: [{ provide: "APP_INTERCEPTOR", useFactory: make, inject: inject as never[] }],
    };
  }
}
