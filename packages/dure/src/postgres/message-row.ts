import type { Message, MessageContext, MessageLink } from "../core/message.ts";

/** A message from a row of `outbox_message`. */
export function messageFromRow(row: Readonly<Record<string, unknown>>): Message {
  const context = (row["context"] ?? undefined) as MessageContext | undefined;
  return {
    id: String(row["id"]),
    source: String(row["source"]),
    topic: String(row["topic"]),
    key: String(row["key"]),
    type: String(row["type"]),
    version: Number(row["version"]),
    time: timeOf(row["written_at"]),
    data: String(row["data"]),
    link: linkOf(row),
    incarnation: Number(row["incarnation"]),
    ...context,
  };
}

function linkOf(row: Readonly<Record<string, unknown>>): MessageLink {
  if (row["link_verified"] !== true) return { kind: "unverified" };
  if (row["previous_id"] === null) return { kind: "first" };
  return {
    kind: "after",
    previousId: textOf(row["previous_id"]),
    previousAt: timeOf(row["previous_at"]),
  };
}

/** A column that the driver gives as text or as a number. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A column that may be null, as text; a time in ISO 8601. */
export function textOrNull(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  return value instanceof Date ? value.toISOString() : textOf(value);
}

/** Drivers may be set to give timestamps as text. */
function timeOf(value: unknown): string {
  return value instanceof Date ? value.toISOString() : new Date(String(value)).toISOString();
}
