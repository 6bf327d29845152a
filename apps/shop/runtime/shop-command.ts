import { resolve } from "node:path";
import type { BrokerConfig } from "../chassis/broker-config.ts";
import type { ServiceName } from "../chassis/config.ts";
import { brokerFrom, brokerNames, brokerOptions, brokerUsage } from "./broker-option.ts";
import { callersPath, oneOf, readCommandLine, textOf, wholeNumber } from "./command-line.ts";
import type { OptionValues, OptionsConfig } from "./command-line.ts";
import type { ShopOptions } from "./embedded-shop.ts";
import { basePortMax } from "./ports.ts";
import { serviceNames } from "./services.ts";
import { UsageError } from "./setup-error.ts";

/** What a command line asks for. */
export type ShopCommand =
  | { readonly kind: "help" }
  | { readonly kind: "embedded"; readonly shop: ShopOptions }
  | { readonly kind: "distributed"; readonly shop: DistributedOptions };

/** A shop of processes. */
export interface DistributedOptions extends ShopOptions {
  /** A server of somebody else's; ours if there is none. */
  readonly postgresUrl: string | undefined;
  /** Undefined: the event log in PostgreSQL. */
  readonly broker: BrokerConfig | undefined;
  /** How many processes each service has. */
  readonly instances: Readonly<Record<ServiceName, number>>;
}

/** What `npm start` understands. */
export const startUsage: string = `Options of npm start -- …
  --port 4000          base port; services take base to base + 9, PostgreSQL base + 32
  --data DIR           where the data is kept (default: .dure in the current folder)
  --fresh              begin with nothing: wipes what the shop has put into the data folder
  --host 127.0.0.1     address of the gateway; all else stays on this machine
  --rate-limit         limit each principal to 100 requests a second
  --log-level warn     silent, error, warn, info, debug or trace; logs go to standard error
  --help`;

/** What `npm run shop` understands. */
export const shopUsage: string = `${startUsage.replace("npm start", "npm run shop")}
  --distributed        each service a process of its own
${brokerUsage}
  --postgres-url URL   a PostgreSQL server to use instead of an embedded one
  --instances LIST     more processes of a service: payment=2,order=2`;

const startOptions = {
  port: { type: "string" },
  data: { type: "string" },
  fresh: { type: "boolean" },
  host: { type: "string" },
  "rate-limit": { type: "boolean" },
  "log-level": { type: "string" },
  help: { type: "boolean", short: "h" },
} as const satisfies OptionsConfig;

const shopOptions = {
  ...startOptions,
  distributed: { type: "boolean" },
  broker: { type: "string" },
  ...brokerOptions,
  "postgres-url": { type: "string" },
  instances: { type: "string" },
} as const satisfies OptionsConfig;

const logLevels = ["silent", "error", "warn", "info", "debug", "trace"] as const;
const instancesMax = 8;

/** Reads the command line of `npm start`. */
export function readStartCommand(args: readonly string[]): ShopCommand {
  const { values } = readCommandLine(args, startOptions);
  return values["help"] === true ? { kind: "help" } : { kind: "embedded", shop: shopFrom(values) };
}

/** Reads the command line of `npm run shop`. */
export function readShopCommand(args: readonly string[]): ShopCommand {
  const { values } = readCommandLine(args, shopOptions);
  if (values["help"] === true) return { kind: "help" };
  const shop = shopFrom(values);
  const brokerName = oneOf("broker", values["broker"], brokerNames) ?? "postgres";
  const postgresUrl = textOf("postgres-url", values["postgres-url"]);
  const instances = readInstances(values["instances"]);
  if (values["distributed"] !== true) {
    for (const name of ["broker", ...Object.keys(brokerOptions), "postgres-url", "instances"]) {
      if (values[name] !== undefined) throw new UsageError(`--${name} needs --distributed`);
    }
    return { kind: "embedded", shop };
  }
  const broker = brokerFrom(brokerName, values, shop.basePort);
  return { kind: "distributed", shop: { ...shop, postgresUrl, broker, instances } };
}

function shopFrom(values: OptionValues): ShopOptions {
  const data = textOf("data", values["data"]);
  return {
    basePort: wholeNumber("port", values["port"], { min: 1, max: basePortMax, fallback: 4000 }),
    host: textOf("host", values["host"]) ?? "127.0.0.1",
    data: data === undefined ? resolve(".dure") : callersPath(data),
    fresh: values["fresh"] === true,
    rateLimit: values["rate-limit"] === true,
    logLevel: oneOf("log-level", values["log-level"], logLevels) ?? "warn",
  };
}

function readInstances(value: string | boolean | undefined): Record<ServiceName, number> {
  const counts: Record<ServiceName, number> = {
    gateway: 1,
    order: 1,
    payment: 1,
    inventory: 1,
    delivery: 1,
    notification: 1,
    provider: 1,
  };
  for (const part of textOf("instances", value)?.split(",") ?? []) {
    const [word, count, ...rest] = part.split("=");
    const name = serviceNames.find((each) => each === word?.trim());
    if (name === undefined || rest.length > 0) {
      throw new UsageError(`--instances: '${part}' is not like payment=2`);
    }
    if (name === "provider") {
      throw new UsageError("--instances: the provider is the world outside; there is one");
    }
    const bounds = { min: 1, max: instancesMax, fallback: Number.NaN };
    counts[name] = wholeNumber(`instances ${name}=N: N`, count?.trim() ?? "", bounds);
  }
  return counts;
}
