import type { FastifyInstance } from "fastify";
import type { Pool } from "pg";

/**
 * What a test puts between a service and the outside: each lets through what comes, watches it, or lets
 * it fail. Without instruments a service behaves the same.
 */
export interface ServiceInstruments {
  /** The pool of the service's own database, as the service shall use it. */
  readonly pool: (pool: Pool) => Pool;
  /** Around one call to a peer, from before it is sent until its answer has been read. */
  readonly call: <Answer>(name: string, send: () => Promise<Answer>) => Promise<Answer>;
  /** Right before an answer goes out. What it did is committed. */
  readonly answering: (name: string) => void;
}

/** Tells of every answer, by the method and the pattern of its route. */
export function instrumentAnswers(app: FastifyInstance, instruments: ServiceInstruments): void {
  app.addHook("onSend", (request, _reply, payload, done) => {
    instruments.answering(`${request.method} ${request.routeOptions.url ?? "unknown"}`);
    done(null, payload);
  });
}

/** What a call is called: ids are left out, so that it is the same for each order. */
export function nameOfCall(peer: string, method: string, path: string): string {
  return `${method} ${peer}${path.replaceAll(/\/[A-Z]+-[0-9A-Z]{26}(?=\/|$)/g, "/:id")}`;
}
