/**
 * Starts a server on the folder named first, says so, and does what it is told on its standard
 * input: "stop". On SIGINT it waits a while before it stops the server in order, as a service with
 * work to finish does, and reports whether the server was still there then.
 */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { startEmbeddedPostgres as Start } from "../../src/embedded/index.ts";

const [dataDir = "", library = "../../src/embedded/index.ts"] = process.argv.slice(2);
const { startEmbeddedPostgres } = (await import(library)) as {
  startEmbeddedPostgres: typeof Start;
};

// Before it says that it has started: whoever waits for that may interrupt at once.
const interrupted = once(process, "SIGINT").then(() => "SIGINT");
const told = once(createInterface({ input: process.stdin }), "line").then(() => "stop");
const server = await startEmbeddedPostgres({ dataDir });
report({ event: "started", url: server.url, pid: server.pid });

if ((await Promise.race([interrupted, told])) === "SIGINT") {
  await delay(300);
  report({ event: "interrupted", isServerAlive: isAlive(server.pid) });
}
await server.stop();
report({ event: "stopped" });
process.exit(0);

function report(message: object): void {
  console.log(JSON.stringify(message));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
