import type { BrokerConfig } from "../chassis/broker-config.ts";
import { clearRedis } from "../chassis/broker-redis.ts";
import { textOf } from "./command-line.ts";
import type { OptionValues, OptionsConfig } from "./command-line.ts";
import { SetupError, UsageError } from "./setup-error.ts";

/** The options that say where a broker is, each for one of them. */
export const brokerOptions = {
  "kafka-brokers": { type: "string" },
  "redis-url": { type: "string" },
} as const satisfies OptionsConfig;

/** The lines about them in the usage. */
export const brokerUsage = `  --broker postgres    what carries the events between them: postgres, kafka or redis
  --kafka-brokers LIST Kafka's addresses (default: 127.0.0.1:9092)
  --redis-url URL      where Redis is (default: redis://127.0.0.1:6379)`;

interface BrokerChoice {
  /** Its own options. */
  readonly options: readonly (keyof typeof brokerOptions)[];
  /** Undefined: the event log in the shop's PostgreSQL, wherever that is. */
  readonly configFrom: (values: OptionValues, basePort: number) => BrokerConfig | undefined;
}

/** One row for each word of `--broker`. */
const choices = {
  postgres: { options: [], configFrom: () => undefined },
  kafka: {
    options: ["kafka-brokers"],
    configFrom: (values) => ({
      kind: "kafka",
      brokers: (textOf("kafka-brokers", values["kafka-brokers"]) ?? "127.0.0.1:9092").split(","),
    }),
  },
  redis: {
    options: ["redis-url"],
    configFrom: (values, basePort) => ({
      kind: "redis",
      url: textOf("redis-url", values["redis-url"]) ?? "redis://127.0.0.1:6379",
      // Shops that share a Redis are told apart as those of one machine are.
      prefix: `shop-${basePort}`,
    }),
  },
} as const satisfies Record<string, BrokerChoice>;

/** The words of `--broker`. */
export const brokerNames = Object.keys(choices) as readonly (keyof typeof choices)[];

/** @throws UsageError for an option of another broker */
export function brokerFrom(
  name: (typeof brokerNames)[number],
  values: OptionValues,
  basePort: number,
): BrokerConfig | undefined {
  const choice: BrokerChoice = choices[name];
  for (const option of Object.keys(brokerOptions) as (keyof typeof brokerOptions)[]) {
    if (values[option] === undefined || choice.options.includes(option)) continue;
    throw new UsageError(`--${option} is not for --broker ${name}`);
  }
  return choice.configFrom(values, basePort);
}

/** Begins with nothing. PostgreSQL's log is wiped with the other databases. */
export async function clearBroker(broker: BrokerConfig | undefined): Promise<void> {
  if (broker?.kind !== "redis") return;
  try {
    await clearRedis(broker);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SetupError(`Redis does not answer at --redis-url: ${why}`);
  }
}
