import type { Transport } from "dure";
import type { Logger } from "pino";
import type { ServiceConfig } from "./config.ts";

/** What carries events from service to service. */
export interface Bus {
  readonly transport: Transport;
  /** Whoever comes first makes what the transport needs. May be called again. */
  readonly prepare: () => Promise<void>;
}

/** What {@link openBus} takes. */
export interface BusOptions {
  readonly config: ServiceConfig;
  readonly logger: Logger;
  /** Connections to the event log, where that is what carries them. */
  readonly poolMax: number;
  /** Closes what is opened here, in reverse order. */
  readonly resources: AsyncDisposableStack;
}
