import type { Transport } from "dure";
import type { Logger } from "pino";
import type { BrokerConfig } from "./broker-config.ts";
import type { ServiceName } from "./config.ts";

/** What opening a broker takes. */
export interface BrokerOptions<Config extends BrokerConfig = BrokerConfig> {
  readonly config: Config;
  readonly service: ServiceName;
  readonly logger: Logger;
  /** How soon the partitions of a member that died go to others. @defaultValue as Dure has it */
  readonly leaseMs?: number;
  /** Closes what is opened, in reverse order. */
  readonly resources: AsyncDisposableStack;
}

/** A broker, opened. */
export interface Broker {
  readonly transport: Transport;
  /** Makes what the transport needs to be there; whoever comes first does it. */
  readonly prepare: () => Promise<void>;
}
