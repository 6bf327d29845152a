import type { FastifyReply, FastifyRequest } from "fastify";
import type { PeerAnswer, PeerCall, PeerClient } from "../chassis/peer-client.ts";
import { PeerError } from "../chassis/peer-error.ts";
import { delegationHeaders, principalOf } from "../chassis/principal.ts";
import { ProblemError } from "../chassis/problem.ts";
import { callContextOf } from "../chassis/request-context.ts";

/** What differs between the public call and the one behind it. */
export type ForwardedCall = Pick<PeerCall, "method" | "path" | "query" | "body" | "timeoutMs">;

/** The owner's headers that mean something to the public; all others stay inside. */
const passedHeaders = ["content-type", "location", "retry-after", "idempotent-replayed", "allow"];

/**
 * Asks the owner of a resource on behalf of the user, with the user's key, request id and trace.
 *
 * @throws ProblemError NOT_READY when the owner cannot be reached or does not believe our token
 */
export async function askOwner(
  owner: PeerClient,
  request: FastifyRequest,
  call: ForwardedCall,
): Promise<PeerAnswer> {
  const answer = await reach(owner, {
    ...call,
    context: callContextOf(request),
    headers: delegationHeaders(principalOf(request)),
    ...(request.idempotencyKey === undefined ? {} : { idempotencyKey: request.idempotencyKey }),
  });
  // The user's token was good; this is between the services, and a login would not mend it.
  if (answer.status === 401) throw notReady(owner, "refused the gateway's token");
  return answer;
}

/** Hands the owner's answer on: status, body and the headers that are part of the contract. */
export function passOn(reply: FastifyReply, answer: PeerAnswer): FastifyReply {
  for (const name of passedHeaders) {
    const value = answer.headers[name];
    if (value !== undefined) reply.header(name, value);
  }
  // The owner has validated and serialised the body; it goes on byte for byte.
  return reply.code(answer.status).serializer(String).send(answer.text);
}

async function reach(owner: PeerClient, call: PeerCall): Promise<PeerAnswer> {
  try {
    return await owner.forward(call);
  } catch (error) {
    throw error instanceof PeerError ? notReady(owner, "does not answer", error) : error;
  }
}

function notReady(owner: PeerClient, what: string, cause?: unknown): ProblemError {
  const detail = `The ${owner.peer} service ${what}; try again, with the same key if there was one.`;
  return new ProblemError("NOT_READY", detail, { retryAfterMs: 1000, cause });
}
