import { Client } from "pg";
import { readProcessList } from "../../apps/shop/runtime/process-list.ts";
import type { ChaosShop } from "./chaos-shop.ts";
import { endSessions } from "./chaos-sql.ts";
import type { Fault } from "./schedule.ts";

/** Undoes what is not over by itself. */
type Heal = () => Promise<void>;

/**
 * Lets something go wrong.
 *
 * @returns what heals it; nothing where the shop has to heal itself
 */
export async function disturb(stage: ChaosShop, fault: Fault): Promise<Heal | undefined> {
  const { links, database } = stage;
  switch (fault.kind) {
    case "kill":
      await signalOne(stage, fault, "SIGKILL");
      return undefined;
    case "freeze": {
      const pid = await signalOne(stage, fault, "SIGSTOP");
      return async () => void (pid !== undefined && signalTo(pid, "SIGCONT"));
    }
    case "stop-database":
    case "crash-database":
      await database.stop(fault.kind === "stop-database" ? "orderly" : "crash");
      return () => database.start();
    case "end-sessions":
      await endSessionsOf(stage, fault.share);
      return undefined;
    case "kill-broker":
    case "freeze-broker":
    case "cut-off-broker":
      return disturbBroker(stage, fault.kind);
    case "delay":
      links.get(fault.link).setLatency(fault.latencyMs);
      return async () => links.get(fault.link).setLatency(0);
    case "cut":
    case "abandon":
      links.get(fault.link)[fault.kind]();
      return undefined;
    case "refuse":
      links.get(fault.link).refuse();
      return async () => links.get(fault.link).resume();
    case "silence":
      links.get(fault.link).blackHole(fault.direction);
      return async () => links.get(fault.link).resume();
  }
}

async function disturbBroker(
  { broker, links }: ChaosShop,
  kind: "kill-broker" | "freeze-broker" | "cut-off-broker",
): Promise<Heal> {
  if (broker === undefined || kind === "cut-off-broker") {
    for (const proxy of links.toBroker) proxy.refuse();
    return async () => {
      for (const proxy of links.toBroker) proxy.resume();
    };
  }
  if (kind === "freeze-broker") {
    broker.freeze();
    return async () => broker.thaw();
  }
  await broker.kill();
  return () => broker.restart();
}

async function signalOne(
  { processesPath }: ChaosShop,
  { service, pick }: { readonly service: string; readonly pick: number },
  signal: NodeJS.Signals,
): Promise<number | undefined> {
  const candidates = (await readProcessList(processesPath)).filter(({ name }) => name === service);
  const victim = candidates[pick % candidates.length];
  // One that has just died of something else is dead already.
  if (victim !== undefined) signalTo(victim.pid, signal);
  return victim?.pid;
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended in the meantime.
  }
}

/** As an administrator would, or a failover. Does nothing while the server is down: then they have ended already. */
async function endSessionsOf({ database }: ChaosShop, share: number): Promise<void> {
  const client = new Client({ connectionString: database.url, connectionTimeoutMillis: 2_000 });
  client.on("error", () => undefined); // the query under way fails as well, and is caught
  try {
    await client.connect();
    await client.query(endSessions, [share]);
  } catch {
    // The server is on its way down or up.
  } finally {
    await client.end().catch(() => undefined);
  }
}
