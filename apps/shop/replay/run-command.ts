import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedShop } from "../runtime/embedded-shop.ts";
import type { RunningShop } from "../runtime/embedded-shop.ts";
import { listenForInterrupts } from "../runtime/interrupts.ts";
import { findFreeBasePort } from "../runtime/ports.ts";
import { readProcessList } from "../runtime/process-list.ts";
import { isReady } from "../runtime/readiness.ts";
import { SetupError } from "../runtime/setup-error.ts";
import { createKiller } from "./killer.ts";
import { readReplayOptions, replayUsage } from "./options.ts";
import type { ReplayOptions } from "./options.ts";
import { planOrders } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { readRecords } from "./read-file.ts";
import { runReplay } from "./run-replay.ts";

/**
 * The whole of `npm run replay`: reads the file, finds or starts a shop, replays, reports.
 *
 * @returns the exit code: 0 when everything agrees, 1 when something does not
 * @throws UsageError, SetupError, or Error when the shop stopped answering
 */
export async function runReplayCommand(args: readonly string[]): Promise<number> {
  const options = readReplayOptions(args);
  if (options === undefined) {
    say(replayUsage);
    return 0;
  }
  const plan = planOrders(await readRecords(options.file), options.limit);
  if (await isReady(options.url)) return replayAt(options.url, options, plan);
  if (options.kill !== undefined) {
    throw new SetupError(`No shop is ready at ${options.url}, and --kill needs a distributed one`);
  }
  say(`No shop is ready at ${options.url}: one is started for this replay.`);
  return replayAtOwnShop(options, plan);
}

async function replayAt(url: string, options: ReplayOptions, plan: Plan): Promise<number> {
  if (options.kill !== undefined) {
    const { processesPath, seed } = options.kill;
    if ((await readProcessList(processesPath)).length === 0) {
      throw new SetupError(`${processesPath} lists no process: is --data the distributed shop's?`);
    }
    say(`Killing with seed ${seed}.`);
  }
  say(`Replaying ${plan.orders.length} orders at ${url}`);
  const trouble = options.kill && createKiller(options.kill);
  const report = await runReplay(url, plan, { ...options, trouble });
  say(`\n${report.text}`);
  return report.ok ? 0 : 1;
}

async function replayAtOwnShop(options: ReplayOptions, plan: Plan): Promise<number> {
  const data = await mkdtemp(join(tmpdir(), "dure-replay-"));
  let shop: RunningShop | undefined;
  const interrupts = listenForInterrupts(() => shop?.kill());
  try {
    shop = await startEmbeddedShop({
      basePort: await findFreeBasePort(),
      host: "127.0.0.1",
      data,
      fresh: false,
      rateLimit: false,
      logLevel: "error",
      signal: interrupts.signal,
    });
    const interrupted = interrupts.requested.then(() => 130);
    return await Promise.race([replayAt(shop.url, options, plan), interrupted]);
  } finally {
    await shop?.stop();
    await rm(data, { recursive: true, force: true });
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
