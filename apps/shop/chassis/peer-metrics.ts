import type { DependencySnapshot } from "dure/resilience";
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import type { PeerClient } from "./peer-client.ts";

const readings: readonly (readonly [string, string, (standing: DependencySnapshot) => number])[] = [
  ["peer_breaker_open", "1 while the peer is left alone", ({ breaker }) => +(breaker !== "closed")],
  ["peer_calls", "Calls since the start", ({ calls }) => calls],
  ["peer_calls_failed", "Calls that ended without an answer", ({ failed }) => failed],
  ["peer_retries", "Attempts after the first", ({ retries }) => retries],
  ["peer_retries_denied", "Retries that the budget forbade", ({ retriesDenied }) => retriesDenied],
];

/** How the service's peers stand, as this instance sees them, under `/metrics`. */
export function exposePeerMetrics(
  peers: readonly Pick<PeerClient, "peer" | "standing">[],
  registry: Registry,
): void {
  for (const [name, help, read] of readings) {
    new Gauge({
      name,
      help,
      labelNames: ["peer"],
      registers: [registry],
      collect() {
        for (const client of peers) this.set({ peer: client.peer }, read(client.standing()));
      },
    });
  }
}
