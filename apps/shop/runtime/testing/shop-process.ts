import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findFreeBasePort } from "../ports.ts";
import { readProcessList } from "../process-list.ts";
import type { ProcessEntry } from "../process-list.ts";
import { waitUntilReady } from "../readiness.ts";

const program = fileURLToPath(new URL("../../shop.ts", import.meta.url));

/** Eight processes start on what may be two busy cores. */
export const startMs = 120_000;

/** The distributed shop, as somebody starts it at a prompt. */
export interface ShopProcess {
  readonly url: string;
  readonly supervisor: ChildProcess;
  /** What it has said so far. */
  readonly output: () => string;
  readonly processes: () => Promise<readonly ProcessEntry[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts `shop.ts --distributed` with these options, in a folder of its own; resolves when it answers. */
export async function startShopProcess(options: readonly string[]): Promise<ShopProcess> {
  const data = await mkdtemp(join(tmpdir(), "dure-distributed-"));
  const port = await findFreeBasePort();
  const url = `http://127.0.0.1:${port}`;
  const own = ["--distributed", "--port", `${port}`, "--data", data];
  const supervisor = spawn(
    process.execPath,
    ["--conditions=dure-source", program, ...own, ...options],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let output = "";
  supervisor.stdout.on("data", (part: Buffer) => (output += part.toString()));
  const died = once(supervisor, "exit").then(() => {
    throw new Error(`the supervisor ended: ${output}`);
  });
  died.catch(() => undefined);
  const dispose = async (): Promise<void> => {
    supervisor.kill("SIGKILL");
    await rm(data, { recursive: true, force: true });
  };
  try {
    await Promise.race([waitUntilReady(url, { withinMs: startMs }), died]);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    url,
    supervisor,
    output: () => output,
    processes: () => readProcessList(join(data, "processes.json")),
    [Symbol.asyncDispose]: dispose,
  };
}
