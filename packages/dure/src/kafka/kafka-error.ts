import { describeError } from "../core/errors.ts";

/**
 * What an error of a publication is about: the message (another try cannot help), its topic (the others can
 * go on), or the broker (nothing is known).
 */
export interface KafkaFault {
  readonly about: "message" | "topic" | "broker";
  /** The protocol's name of the error, or the client's. */
  readonly code: string;
  readonly error: string;
}

/** Errors of the protocol that stay with the message, however often it is sent. */
const messageCodes: ReadonlySet<string> = new Set([
  "MESSAGE_TOO_LARGE",
  "RECORD_LIST_TOO_LARGE",
  "INVALID_RECORD",
  "INVALID_TIMESTAMP",
]);

/** Errors of the protocol that are one topic's. */
const topicCodes: ReadonlySet<string> = new Set([
  "UNKNOWN_TOPIC_OR_PARTITION",
  "UNKNOWN_TOPIC_ID",
  "INVALID_TOPIC_EXCEPTION",
  "LEADER_NOT_AVAILABLE",
  "NOT_LEADER_OR_FOLLOWER",
  "FENCED_LEADER_EPOCH",
  "NOT_ENOUGH_REPLICAS",
  "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
  "TOPIC_AUTHORIZATION_FAILED",
  "KAFKA_STORAGE_ERROR",
  "POLICY_VIOLATION",
  "THROTTLING_QUOTA_EXCEEDED",
]);

/** Reads an error of the client by the protocol's names, never by its text. */
export function faultOf(error: unknown): KafkaFault {
  const facts = [...chainOf(error)];
  const codes = facts.flatMap(({ apiId }) => (typeof apiId === "string" ? [apiId] : []));
  const text = explain(error);
  const topicCode = codes.findLast((code) => topicCodes.has(code));
  if (topicCode !== undefined) return { about: "topic", code: topicCode, error: text };
  const messageCode = codes.findLast((code) => messageCodes.has(code));
  if (messageCode !== undefined) return { about: "message", code: messageCode, error: text };
  const own = facts.find(({ code }) => typeof code === "string")?.code;
  const code = codes.at(-1) ?? (typeof own === "string" ? own : "BROKER_UNAVAILABLE");
  // The client's word for a topic that is not there (any more).
  const about = own === "PLT_KFK_USER" && codes.length === 0 ? "topic" : "broker";
  return { about, code, error: text };
}

/** One line: what the client says, and, where that is only that it has tried, what was in the way. */
export function explain(error: unknown): string {
  const outer = describeError(error);
  const messages = [...chainOf(error)].flatMap(({ message }) =>
    typeof message === "string" && message !== "" ? [message] : [],
  );
  const inner = messages.at(-1);
  return inner === undefined || outer.includes(inner) ? outer : `${outer} (${inner})`;
}

/** Whether an error, or one that it is made of, has this name in the protocol. */
export function hasApiId(error: unknown, ...ids: readonly string[]): boolean {
  return [...chainOf(error)].some(({ apiId }) => typeof apiId === "string" && ids.includes(apiId));
}

interface ErrorFacts {
  readonly message?: unknown;
  readonly apiId?: unknown;
  readonly code?: unknown;
  readonly errors?: unknown;
  readonly cause?: unknown;
}

/** The error and all that it is made of. Bounded: a chain may bite its tail. */
function* chainOf(error: unknown): Generator<ErrorFacts> {
  const open: unknown[] = [error];
  for (let seen = 0; open.length > 0 && seen < 200; seen += 1) {
    const next = open.shift();
    if (typeof next !== "object" || next === null) continue;
    const facts: ErrorFacts = next;
    yield facts;
    if (Array.isArray(facts.errors)) open.push(...(facts.errors as unknown[]));
    open.push(facts.cause);
  }
}
