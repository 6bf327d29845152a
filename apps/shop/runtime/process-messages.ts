import type { ServiceConfig } from "../chassis/config.ts";

/** What the supervisor tells a service's process. */
export type ToService =
  | { readonly kind: "start"; readonly config: ServiceConfig }
  | { readonly kind: "stop" };

/** What a service's process tells the supervisor. */
export type FromService =
  | { readonly kind: "ready"; readonly url: string }
  | { readonly kind: "failed"; readonly reason: string };
