import type { Message } from "./message.ts";

/** The envelope of a message without its data, as JSON text. */
export function envelopeText(message: Message): string {
  const { data: _data, ...envelope } = message;
  return JSON.stringify(envelope);
}

/** A message from its envelope and its data. */
export function messageFromParts(envelope: unknown, data: unknown): Message {
  const parsed = JSON.parse(String(envelope)) as Omit<Message, "data">;
  return { ...parsed, data: String(data) };
}
