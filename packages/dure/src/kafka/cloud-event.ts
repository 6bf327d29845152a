import type { Message, MessageLink } from "../core/message.ts";

/** What a record holds that is a message: the key is the record's key, the data its value. */
export interface MessageRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** When it was written, in milliseconds since the epoch. */
  readonly timestamp: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [Buffer | null, Buffer | null])[];
}

/** Made once: a header's name is the same bytes in every record. */
const names = {
  specversion: Buffer.from("ce_specversion"),
  id: Buffer.from("ce_id"),
  source: Buffer.from("ce_source"),
  type: Buffer.from("ce_type"),
  time: Buffer.from("ce_time"),
  contentType: Buffer.from("content-type"),
  version: Buffer.from("ce_dureversion"),
  link: Buffer.from("ce_durelink"),
  previousId: Buffer.from("ce_dureprevious"),
  previousAt: Buffer.from("ce_durepreviousat"),
  incarnation: Buffer.from("ce_dureincarnation"),
  traceparent: Buffer.from("ce_traceparent"),
  tracestate: Buffer.from("ce_tracestate"),
  correlationId: Buffer.from("ce_correlationid"),
  causationId: Buffer.from("ce_causationid"),
  tombstone: Buffer.from("ce_duretombstone"),
  redriven: Buffer.from("ce_dureredriven"),
} as const;

const specversion = Buffer.from("1.0");
const json = Buffer.from("application/json");
const yes = Buffer.from("true");

/**
 * A message as a record in the binary mode of CloudEvents: the attributes are headers, the data is the
 * value, byte for byte.
 *
 * Source: CloudEvents Kafka Protocol Binding 1.0.2, section 3.2.
 */
export function headersOf(message: Message): Map<Buffer, Buffer> {
  const headers = new Map<Buffer, Buffer>([
    [names.specversion, specversion],
    [names.id, Buffer.from(message.id)],
    [names.source, Buffer.from(message.source)],
    [names.type, Buffer.from(message.type)],
    [names.time, Buffer.from(message.time)],
    [names.contentType, json],
    [names.version, Buffer.from(String(message.version))],
    [names.link, Buffer.from(message.link.kind)],
  ]);
  if (message.link.kind === "after") {
    headers.set(names.previousId, Buffer.from(message.link.previousId));
    headers.set(names.previousAt, Buffer.from(message.link.previousAt));
  }
  for (const name of ["traceparent", "tracestate", "correlationId", "causationId"] as const) {
    const value = message[name];
    if (value !== undefined) headers.set(names[name], Buffer.from(value));
  }
  if (message.incarnation !== undefined) {
    headers.set(names.incarnation, Buffer.from(String(message.incarnation)));
  }
  if (message.tombstone === true) headers.set(names.tombstone, yes);
  if (message.redriven === true) headers.set(names.redriven, yes);
  return headers;
}

/**
 * The message of a record. One that is no CloudEvent, or lacks what a message must have, is told apart by
 * its type: it gets an id from its place and a type that no handler knows, so that it becomes a dead letter
 * instead of a stop.
 */
export function messageOf(record: MessageRecord): Message {
  const headers = new Map<string, string>();
  for (const [name, value] of record.headers) {
    if (name !== null && value !== null)
      headers.set(name.toString().toLowerCase(), value.toString());
  }
  const of = (name: keyof typeof names): string | undefined => headers.get(names[name].toString());
  const place = `${record.topic}/${record.partition}/${record.offset}`;
  const time = new Date(Number(record.timestamp)).toISOString();
  return {
    id: of("id") ?? `kafka/${place}`,
    source: of("source") ?? "kafka",
    topic: record.topic,
    key: record.key?.toString() ?? place,
    type: (of("id") !== undefined && of("type")) || "kafka.not-a-cloudevent",
    version: Number(of("version") ?? 1) || 1,
    time: of("time") ?? time,
    data: record.value?.toString() ?? "null",
    link: linkOf(of("link"), of("previousId"), of("previousAt")),
    ...(of("incarnation") !== undefined && { incarnation: Number(of("incarnation")) }),
    ...(of("traceparent") !== undefined && { traceparent: of("traceparent") }),
    ...(of("tracestate") !== undefined && { tracestate: of("tracestate") }),
    ...(of("correlationId") !== undefined && { correlationId: of("correlationId") }),
    ...(of("causationId") !== undefined && { causationId: of("causationId") }),
    ...(of("tombstone") === "true" && { tombstone: true }),
    ...(of("redriven") === "true" && { redriven: true }),
  };
}

function linkOf(
  kind: string | undefined,
  previousId: string | undefined,
  previousAt: string | undefined,
): MessageLink {
  if (kind === "first") return { kind };
  if (kind === "after" && previousId !== undefined && previousAt !== undefined) {
    return { kind, previousId, previousAt };
  }
  return { kind: "unverified" };
}
