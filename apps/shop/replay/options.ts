import { randomInt } from "node:crypto";
import { join, resolve } from "node:path";
import {
  callersPath,
  oneOf,
  readCommandLine,
  textOf,
  wholeNumber,
} from "../runtime/command-line.ts";
import type { OptionsConfig } from "../runtime/command-line.ts";
import { UsageError } from "../runtime/setup-error.ts";
import type { CheckoutMode } from "../contracts/http/orders.ts";
import type { FaultLevel } from "./faults.ts";

/** What `npm run replay` was asked for. */
export interface ReplayOptions {
  readonly file: string;
  readonly mode: CheckoutMode | undefined;
  readonly concurrency: number;
  readonly stock: "ample" | "tight";
  readonly faults: FaultLevel;
  readonly limit: number;
  /** The gateway of the shop to use, if one answers there. */
  readonly url: string;
  /** Where a distributed shop lists its processes, when they are to be killed. */
  readonly kill: { readonly processesPath: string; readonly seed: number } | undefined;
}

/** What `npm run replay` understands. */
export const replayUsage: string = `npm run replay -- FILE.csv [options]
  --mode MODE          choreography or orchestration (default: the shop's)
  --concurrency 32     customers that order at the same time
  --stock ample        ample: enough for all; tight: about 70 % of what is asked for
  --faults LEVEL       light or heavy: the provider, delivery and notification fail now and then
  --limit N            only the first N invoices of the file
  --url URL            the shop (default: http://127.0.0.1:4000); if none answers there, one is
                       started for the replay, with nothing in it
  --kill               kill -9 a process of a distributed shop every two seconds
  --data DIR           the data folder of that shop (default: .dure)
  --seed N             decides who is killed when (default: a random one, which is printed)
  --help`;

const config = {
  mode: { type: "string" },
  concurrency: { type: "string" },
  stock: { type: "string" },
  faults: { type: "string" },
  limit: { type: "string" },
  url: { type: "string" },
  kill: { type: "boolean" },
  data: { type: "string" },
  seed: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const satisfies OptionsConfig;

/**
 * Reads the command line of `npm run replay`.
 *
 * @returns undefined when only help was asked for
 * @throws UsageError
 */
export function readReplayOptions(args: readonly string[]): ReplayOptions | undefined {
  const { values, positionals } = readCommandLine(args, config, 1);
  if (values["help"] === true) return undefined;
  const [file] = positionals;
  if (file === undefined) throw new UsageError("Name the file to replay");
  const isKilling = values["kill"] === true;
  if (!isKilling && (values["data"] !== undefined || values["seed"] !== undefined)) {
    throw new UsageError("--data and --seed need --kill");
  }
  const data = textOf("data", values["data"]);
  const folder = data === undefined ? resolve(".dure") : callersPath(data);
  const seedMax = 999_999_999;
  const randomSeed = randomInt(seedMax);
  const seed = wholeNumber("seed", values["seed"], { min: 0, max: seedMax, fallback: randomSeed });
  return {
    file: callersPath(file),
    mode: oneOf("mode", values["mode"], ["choreography", "orchestration"] as const),
    concurrency: wholeNumber("concurrency", values["concurrency"], {
      min: 1,
      max: 1000,
      fallback: 32,
    }),
    stock: oneOf("stock", values["stock"], ["ample", "tight"] as const) ?? "ample",
    faults: oneOf("faults", values["faults"], ["none", "light", "heavy"] as const) ?? "none",
    limit: wholeNumber("limit", values["limit"], {
      min: 1,
      max: 999_999_999,
      fallback: Number.MAX_SAFE_INTEGER,
    }),
    url: readUrl(textOf("url", values["url"]) ?? "http://127.0.0.1:4000"),
    kill: isKilling ? { processesPath: join(folder, "processes.json"), seed } : undefined,
  };
}

function readUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new UsageError("--url must look like http://127.0.0.1:4000");
  }
  return text.replace(/\/+$/, "");
}
