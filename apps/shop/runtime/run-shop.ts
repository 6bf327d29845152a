import { isDureError } from "dure";
import { openForVisitors } from "./demo.ts";
import { startDistributedShop } from "./distributed-shop.ts";
import { startEmbeddedShop } from "./embedded-shop.ts";
import type { RunningShop } from "./embedded-shop.ts";
import { listenForInterrupts } from "./interrupts.ts";
import { SetupError, UsageError } from "./setup-error.ts";
import type { ShopCommand } from "./shop-command.ts";
import { welcome } from "./welcome.ts";

/** Past this, something hangs that was told to stop; the limits inside add up to less. */
const stopWithinMs = 25_000;

/**
 * The life of `npm start` and `npm run shop`: start, tell, wait for a signal, stop.
 *
 * @returns the exit code
 */
export async function runShop(read: () => ShopCommand, usage: string): Promise<number> {
  try {
    const command = read();
    if (command.kind === "help") {
      process.stdout.write(`${usage}\n`);
      return 0;
    }
    return await serve(command);
  } catch (error) {
    process.stderr.write(`${explain(error, usage)}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

async function serve(command: Exclude<ShopCommand, { kind: "help" }>): Promise<number> {
  const startedAt = performance.now();
  let shop: RunningShop | undefined;
  const interrupts = listenForInterrupts(() => shop?.kill());
  const { signal } = interrupts;
  const say = sayToPeople(command);
  say(command.shop.fresh ? "Starting the shop with nothing in it …" : "Starting the shop …");
  try {
    shop =
      command.kind === "embedded"
        ? await startEmbeddedShop({ ...command.shop, signal })
        : await startDistributedShop({ ...command.shop, signal }, say);
    const token = await openForVisitors(shop.url);
    const { url, urls, postgresAddress, processCount } = shop;
    const seconds = (performance.now() - startedAt) / 1000;
    const keepsDatabase = command.kind === "embedded" || command.shop.postgresUrl === undefined;
    const facts = { url, urls, postgresAddress, data: command.shop.data, keepsDatabase };
    say(welcome({ ...facts, token, seconds, ...(processCount ? { processCount } : {}) }));
  } catch (error) {
    await shop?.stop();
    if (!signal.aborted) throw error;
    say("Stopped before it was ready.");
    return 130;
  }
  await interrupts.requested;
  return stop(shop, say);
}

async function stop(shop: RunningShop, say: (text: string) => void): Promise<number> {
  say("\nStopping … (Ctrl-C once more ends at once)");
  const limit = setTimeout(() => {
    process.stderr.write("The shop did not stop in time; it is ended.\n");
    shop.kill();
    process.exit(1);
  }, stopWithinMs);
  await shop.stop();
  clearTimeout(limit);
  say("Stopped.");
  return 0;
}

/**
 * Standard output is for people; the log lines of services in this process, which go there too,
 * are sent to standard error. In processes of their own their standard output is ours to lay.
 */
function sayToPeople(command: ShopCommand): (text: string) => void {
  const { stdout } = process;
  if (command.kind === "embedded") {
    Object.defineProperty(process, "stdout", { value: process.stderr, configurable: true });
  }
  return (text) => void stdout.write(`${text}\n`);
}

function explain(error: unknown, usage: string): string {
  if (error instanceof UsageError) return `${error.message}.\n\n${usage}`;
  if (error instanceof SetupError) {
    const cause = error.cause instanceof Error ? `\n\n${error.cause.stack ?? ""}` : "";
    return `${error.message}${cause}`;
  }
  if (isDureError(error)) {
    // Data of another version of the code: a demo's data is cheap.
    const hint = /^(MIGRATION|SCHEMA)_/.test(error.code) ? "\n--fresh begins with nothing." : "";
    return `${error.message} (${error.code})${hint}`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
