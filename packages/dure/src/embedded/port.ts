import { createServer } from "node:net";
import { DureError } from "../core/errors.ts";
import { findLiveServer } from "./ownership.ts";
import { pollUntil } from "./poll.ts";
import { type ServerProcess, type ServerStartOptions, startServer } from "./server-process.ts";

/**
 * Starts the server on the wanted port, or on a free one if none is wanted.
 *
 * @throws DureError EMBEDDED_POSTGRES_IN_USE naming the port or the data directory, or
 * EMBEDDED_POSTGRES_FAILED with the end of the server's log.
 */
export async function startOnPort(
  start: ServerStartOptions,
  host: string,
  wantedPort: number | undefined,
): Promise<{ server: ServerProcess; port: number }> {
  let logTail = "";
  for (let attempt = 1; attempt <= PORT_ATTEMPTS; attempt += 1) {
    const port = wantedPort ?? (await bindOnce(host, 0)).port;
    if (wantedPort !== undefined) await assertPortIsFree(host, port, undefined);
    const settings = {
      ...start.settings,
      port,
      listen_addresses: host,
      unix_socket_directories: "",
      log_line_prefix: "%m [%p] %e ",
    };
    const result = await startPatiently({ ...start, settings });
    if (result.kind === "started") return { server: result.server, port };
    logTail = result.logTail;
    if (result.reason === "locked") {
      const pid = await findLiveServer(start.cluster.dataDir);
      throw new DureError(
        "EMBEDDED_POSTGRES_IN_USE",
        `The data directory ${start.cluster.dataDir} is in use by another PostgreSQL` +
          `${pid === undefined ? "" : ` with pid ${pid}`}:\n${logTail}`,
      );
    }
    // Somebody may have taken the port between the check and the start.
    if (wantedPort !== undefined) {
      await assertPortIsFree(host, port, logTail);
      break;
    }
    if ((await bindOnce(host, port)).error === undefined) break;
  }
  throw new DureError(
    "EMBEDDED_POSTGRES_FAILED",
    `PostgreSQL did not start on ${start.cluster.dataDir}. The end of its log:\n${logTail}`,
  );
}

const PORT_ATTEMPTS = 3;
const LOCKED_ATTEMPTS = 20;

/** After SIGKILL of a server its last processes need a moment to notice, and hold their memory. */
async function startPatiently(start: ServerStartOptions) {
  for (let attempt = 1; ; attempt += 1) {
    const result = await startServer(start);
    const mayPass = result.kind === "failed" && result.reason === "locked";
    if (!mayPass || attempt === LOCKED_ATTEMPTS) return result;
    if ((await findLiveServer(start.cluster.dataDir)) !== undefined) return result;
    await pollUntil(() => false, { timeoutMs: 200, signal: start.signal });
  }
}

async function assertPortIsFree(host: string, port: number, logTail: string | undefined) {
  const { error } = await bindOnce(host, port);
  if (error === undefined) return;
  const isTaken = error.code === "EADDRINUSE";
  throw new DureError(
    isTaken ? "EMBEDDED_POSTGRES_IN_USE" : "EMBEDDED_POSTGRES_FAILED",
    `Port ${port} of ${host} ${isTaken ? "is in use by another program" : `cannot be used (${error.code})`}: ` +
      `choose another port, or leave it out to get a free one.${logTail === undefined ? "" : `\n${logTail}`}`,
    { cause: error },
  );
}

async function bindOnce(
  host: string,
  port: number,
): Promise<{ port: number; error?: NodeJS.ErrnoException }> {
  return new Promise((settle) => {
    const probe = createServer();
    probe.once("error", (error) => settle({ port, error }));
    probe.listen({ host, port, exclusive: true }, () => {
      const address = probe.address();
      const bound = typeof address === "object" && address !== null ? address.port : port;
      probe.close(() => settle({ port: bound }));
    });
  });
}
