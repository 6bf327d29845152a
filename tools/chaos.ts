// `npm run chaos`: real orders through a distributed shop whose processes, servers and connections are spoiled by a seed.
import { listenForInterrupts } from "../apps/shop/runtime/interrupts.ts";
import { SetupError, UsageError } from "../apps/shop/runtime/setup-error.ts";
import { brokerIsMissing } from "./chaos/chaos-shop.ts";
import { chaosUsage, readChaosOptions } from "./chaos/options.ts";
import { runChaos } from "./chaos/run-chaos.ts";

process.exit(
  await main(process.argv.slice(2)).catch((error: unknown) => {
    const isUsage = error instanceof UsageError;
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(isUsage ? `${error.message}.\n\n${chaosUsage}\n` : `${message}\n`);
    return isUsage ? 2 : 1;
  }),
);

async function main(args: readonly string[]): Promise<number> {
  const runs = readChaosOptions(args);
  if (runs === undefined) {
    say(chaosUsage);
    return 0;
  }
  // A second signal ends this process, and with it all that it has started.
  const { signal, requested } = listenForInterrupts(() => undefined);
  let isWhole = true;
  for (const run of runs) {
    const missing = await brokerIsMissing(run.broker);
    if (missing !== undefined) throw new SetupError(missing);
    const interrupted = requested.then(() => undefined);
    const result = await Promise.race([runChaos(run, say, signal), interrupted]);
    if (result === undefined) return 130;
    say(`\n${result.text}\n`);
    isWhole &&= result.ok;
  }
  return isWhole ? 0 : 1;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
