// One service in a process of its own; `distributed-shop.ts` forks it and sends its configuration
// over the channel between them, where no list of processes shows the secrets in it.
import { enableCompileCache, flushCompileCache } from "node:module";
import type { RunningService } from "../chassis/config.ts";
import type { FromService, ToService } from "./process-messages.ts";
import { loadService } from "./services.ts";

const stopWithinMs = 3000;

// Half of a service's start is compiling; what is loaded from here on is remembered on disk.
enableCompileCache();

let service: RunningService | undefined;
let isStopping = false;

// Ctrl-C reaches every process of the terminal; the supervisor decides who stops when.
process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => void stop());
process.on("disconnect", () => void stop());
process.on("message", (message: ToService) => {
  if (message.kind === "start") void start(message.config);
  else void stop();
});
if (process.send === undefined) {
  process.stderr.write("This program is started by the shop: npm run shop -- --distributed\n");
  process.exit(2);
}

async function start(config: Extract<ToService, { kind: "start" }>["config"]): Promise<void> {
  try {
    const startService = await loadService(config.name);
    service = await startService(config);
    tell({ kind: "ready", url: service.url });
    // Now, because a process that is killed has no other chance.
    flushCompileCache();
  } catch (error) {
    tell({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
    process.exit(1);
  }
}

async function stop(): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  // The last resort against a stop that hangs: without a supervisor nobody else would end us.
  setTimeout(() => process.exit(1), 3 * stopWithinMs).unref();
  try {
    await service?.stop({ withinMs: stopWithinMs });
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  }
}

function tell(message: FromService): void {
  // The supervisor may be gone by now; `disconnect` then ends us.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
