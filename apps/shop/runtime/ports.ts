import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { portOffsets } from "../chassis/config.ts";
import { SetupError } from "./setup-error.ts";

/** How far above the shop's base port its PostgreSQL listens. */
export const postgresPortOffset = 32;

/** The highest base port that leaves room for all others. */
export const basePortMax: number = 65_535 - postgresPortOffset;

/** What somebody can do whose port is taken. */
export const moveHint: string =
  "Stop what uses it, or move the whole shop, for example: --port 5100";

/** The ports of the services of a shop with this base port. */
export function servicePorts(basePort: number): readonly number[] {
  return Object.values(portOffsets).map((offset) => basePort + offset);
}

/**
 * Makes sure that the ports can be taken, before anything is started.
 *
 * @throws SetupError naming the first port that cannot
 */
export async function assertPortsAreFree(host: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const error = await bindOnce(host, port);
    if (error === undefined) continue;
    const why =
      error.code === "EADDRINUSE"
        ? "is in use by another program"
        : `of ${host} cannot be used (${error.code ?? error.message})`;
    throw new SetupError(`Port ${port} ${why}. ${moveHint}`);
  }
}

/** A base port whose whole range is free at the moment; somebody may still take one before us. */
export async function findFreeBasePort(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    // Below the range from which the system hands out ports to clients.
    const base = 10_000 + randomInt(500) * 40;
    const ports = [...servicePorts(base), base + postgresPortOffset];
    const errors = await Promise.all(ports.map((port) => bindOnce("127.0.0.1", port)));
    if (errors.every((error) => error === undefined)) return base;
  }
  throw new SetupError("No range of free ports was found for the shop. Name one: --port 4100");
}

/** One free port, as the system gives it. */
export async function findFreePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const probe = createServer();
  probe.once("error", reject);
  probe.listen({ host: "127.0.0.1", port: 0 }, () => {
    const address = probe.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    probe.close(() => resolve(port));
  });
  return promise;
}

async function bindOnce(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.ErrnoException | undefined>();
  const probe = createServer();
  probe.once("error", resolve);
  probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(undefined)));
  return promise;
}
