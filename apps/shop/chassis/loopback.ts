import type { FastifyRequest } from "fastify";
import { isIPv4 } from "node:net";
import { ProblemError } from "./problem.ts";

/**
 * A `preHandler` for what exists on the machine itself only: to everyone else the path is not
 * there. It asks the socket, because a forwarding header could say anything.
 */
export async function loopbackOnly(request: FastifyRequest): Promise<void> {
  if (isLoopback(request.socket.remoteAddress ?? "")) return;
  throw new ProblemError("NOT_FOUND", "No such path.");
}

/** Whether an IP address, possibly an IPv4 one in IPv6 clothes, is this machine. */
export function isLoopback(address: string): boolean {
  const plain = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  return plain === "::1" || (isIPv4(plain) && plain.startsWith("127."));
}
