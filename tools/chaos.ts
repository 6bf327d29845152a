// `npm run chaos`: real orders through a distributed shop whose processes, servers and connections are spoiled by a seed.
import { planOrders } from "../apps/shop/replay/plan.ts";
import { readRecords } from "../apps/shop/replay/read-file.ts";
import { listenForInterrupts } from "../apps/shop/runtime/interrupts.ts";
import { SetupError, UsageError } from "../apps/shop/runtime/setup-error.ts";
import { brokerIsMissing } from "./chaos/chaos-shop.ts";
import { chaosUsage, readChaosOptions } from "./chaos/options.ts";
import { runChaos } from "./chaos/run-chaos.ts";

/** More than two cores post; the rest of the file would only put more products on the shelf. */
const invoicesPerMinuteMax = 600;

process.exit(
  await main(process.argv.slice(2)).catch((error: unknown) => {
    const isUsage = error instanceof UsageError;
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(isUsage ? `${error.message}.\n\n${chaosUsage}\n` : `${message}\n`);
    return isUsage ? 2 : 1;
  }),
);

async function main(args: readonly string[]): Promise<number> {
  const options = readChaosOptions(args);
  if (options === undefined) {
    say(chaosUsage);
    return 0;
  }
  // A second signal ends this process, and with it all that it has started.
  const { signal, requested } = listenForInterrupts(() => undefined);
  let isWhole = true;
  const records = await readRecords(options.file);
  for (const run of options.runs) {
    const missing = await brokerIsMissing(run.broker);
    if (missing !== undefined) throw new SetupError(missing);
    const interrupted = requested.then(() => undefined);
    const invoicesMax = run.limit ?? Math.ceil((run.durationMs / 60_000) * invoicesPerMinuteMax);
    const plan = planOrders(records, invoicesMax);
    const result = await Promise.race([runChaos(run, { plan, say, signal }), interrupted]);
    if (result === undefined) return 130;
    say(`\n${result.text}\n`);
    isWhole &&= result.ok;
  }
  return isWhole ? 0 : 1;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
