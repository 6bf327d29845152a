import { DureError } from "../core/errors.ts";
import { envelopeText } from "../core/envelope.ts";
import type { Clock } from "../core/clock.ts";
import { newId } from "../core/id.ts";
import type { Logger } from "../core/logger.ts";
import type { Message } from "../core/message.ts";
import { keyOf } from "../core/message.ts";
import type { BrokerMemory, Fence, PublishOutcome, Watermark } from "../core/transport.ts";
import { redisCommand, redisEval } from "./redis-client.ts";
import type { RedisClient } from "./redis-client.ts";
import { partitionOf } from "./stream-names.ts";
import type { StreamNames } from "./stream-names.ts";
import { openMemory, publishText } from "./streams-lua.ts";

/** What publishing is made of. */
export interface StreamsPublisherParts {
  readonly client: RedisClient;
  readonly names: StreamNames;
  readonly partitions: number;
  readonly streamLengthMax: number;
  readonly commandMsMax: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told which partitions have news. */
  readonly onPublished: (partitions: readonly number[]) => void;
}

/** Redis does nothing else while it runs a script: so much at a time. */
const chunkMessagesMax = 500;
const chunkBytesMax = 4 * 1024 * 1024;
/** A single message may not hold Redis, or a consumer's memory, longer than a chunk. */
export const messageBytesMax: number = 8 * 1024 * 1024;

/** A message on its way, with its place in the publication. */
interface Addressed {
  readonly index: number;
  readonly message: Message;
  readonly partition: number;
  readonly stream: string;
  readonly envelope: string;
  readonly bytes: number;
}

/** What a source remembers of what it has published, to see when Redis has lost it. */
interface Watermarks {
  readonly memoryId: string;
  /** The last id of each stream that was written to. */
  readonly lastIds: Map<string, string>;
}

/** A chunk on its way, and what is known of those who send it. */
interface Sending {
  readonly scope: string;
  readonly marks: Watermarks;
  readonly chunk: readonly Addressed[];
  readonly incarnations: ReadonlyMap<string, number>;
}

/**
 * Publishes into streams: each chunk of a publication is one script, which looks at the fences and at what Redis
 * may have lost before it writes. Watermarks live in this process, and by {@link StreamsPublisher.memory} with the
 * relay's progress; that a source has lost something is written down in Redis, for all its publishers, until the
 * source has sent again.
 */
export class StreamsPublisher {
  readonly memory: BrokerMemory = {
    watermarks: (source) => this.#known(source),
    remember: (source, known) => this.#remember(source, known),
  };
  readonly #parts: StreamsPublisherParts;
  /** By source, or sources: they do not share a fate. */
  readonly #watermarks: Map<string, Promise<Watermarks>> = new Map();

  /** Of whom it was said that something is lost: once, not with every attempt. */
  readonly #said: Set<string> = new Set();

  constructor(parts: StreamsPublisherParts) {
    this.#parts = parts;
  }

  async publish(
    messages: readonly Message[],
    { fences, signal }: { readonly fences: readonly Fence[]; readonly signal: AbortSignal },
  ): Promise<readonly PublishOutcome[]> {
    if (messages.length === 0) return [];
    const outcomes: PublishOutcome[] = Array.from({ length: messages.length });
    /** Streams and keys behind which nothing may go any more. */
    const stopped = new Map<string, PublishOutcome>();
    const told = new Set<number>();
    try {
      for (const chunk of chunksOf(this.#address(messages, outcomes, stopped))) {
        const open = chunk.filter(({ index, stream }) => {
          const outcome = stopped.get(stream);
          if (outcome !== undefined) outcomes[index] = outcome;
          return outcome === undefined;
        });
        if (open.length === 0) continue;
        const ids = await this.#send(open, fences, signal);
        for (const [place, { index, stream, partition }] of open.entries()) {
          const outcome = outcomeOf(ids[place] ?? "");
          outcomes[index] = outcome;
          if (outcome.kind === "accepted") told.add(partition);
          else stopped.set(stream, outcome);
        }
      }
    } finally {
      if (told.size > 0) this.#parts.onPublished([...told]);
    }
    return outcomes;
  }

  /** Says where each message goes; one that is too large goes nowhere, nor what is behind it of its key. */
  #address(
    messages: readonly Message[],
    outcomes: PublishOutcome[],
    stopped: Map<string, PublishOutcome>,
  ): readonly Addressed[] {
    const { names, partitions } = this.#parts;
    const addressed: Addressed[] = [];
    for (const [index, message] of messages.entries()) {
      const envelope = envelopeText(message);
      const bytes = Buffer.byteLength(envelope) + Buffer.byteLength(message.data);
      const key = keyOf(message);
      const isBehind = stopped.has(key);
      if (isBehind || bytes > messageBytesMax) {
        outcomes[index] = refusal(bytes, isBehind);
        stopped.set(key, outcomes[index]);
        continue;
      }
      const partition = partitionOf(message.key, partitions);
      const stream = names.stream(message.topic, partition);
      addressed.push({ index, message, partition, stream, envelope, bytes });
    }
    return addressed;
  }

  async #send(
    chunk: readonly Addressed[],
    fences: readonly Fence[],
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const incarnations = incarnationsOf(chunk);
    const scope = [...incarnations.keys()].sort().join("\u001f");
    const marks = await this.#marksOf(scope);
    return this.#sendTo({ scope, marks, chunk, incarnations }, fences, signal);
  }

  async #sendTo(
    { scope, marks, chunk, incarnations }: Sending,
    fences: readonly Fence[],
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { client, names, commandMsMax } = this.#parts;
    const places = new Map<string, { readonly place: number; readonly item: Addressed }>();
    for (const item of chunk) {
      if (!places.has(item.stream)) places.set(item.stream, { place: places.size + 1, item });
    }
    // Nothing to send: then it is asked about all that is known.
    const asked = chunk.length > 0 ? [] : [...marks.lastIds.keys()];
    const streams = [...places.keys(), ...asked];
    const keys = [names.memory, names.fences, names.losses, names.topics, names.bell, ...streams];
    const args = [
      marks.memoryId,
      ...counted(fences.map((fence) => [`${fence.source}|${fence.shard}`, `${fence.epoch}`])),
      ...counted([...incarnations].map(([source, incarnation]) => [source, `${incarnation}`])),
      ...counted(
        streams.map((stream) => {
          const { message, partition = 0 } = places.get(stream)?.item ?? {};
          return [message?.topic ?? "", `${partition}`, marks.lastIds.get(stream) ?? ""];
        }),
      ),
      `${this.#parts.streamLengthMax}`,
      ...counted(
        chunk.map(({ stream, envelope, message }) => [
          `${places.get(stream)?.place ?? 0}`,
          envelope,
          message.data,
        ]),
      ),
    ];
    const command = ["EVAL", publishText, `${keys.length}`, ...keys, ...args] as const;
    const reply = await redisCommand(client, command, { timeoutMs: commandMsMax, signal });
    return this.#read(reply as readonly unknown[], { scope, marks, chunk }); // as the script returns it
  }

  #read(
    [kind, ...rest]: readonly unknown[],
    sent: { scope: string; marks: Watermarks; chunk: readonly Addressed[] },
  ): readonly string[] {
    if (kind === "fenced") {
      const [fence, epoch] = rest.map(String);
      throw new DureError(
        "FENCED",
        `shard ${fence} was taken over: epoch ${epoch} has published, and this one is older; nothing was published`,
      );
    }
    if (kind === "lost") {
      // What is known of the memory before says nothing about this one.
      this.#watermarks.delete(sent.scope);
      const [what, , ...sources] = rest.map(String);
      const message =
        "BROKER_DATA_LOST: Redis has lost messages that it had taken. Nothing more is published until the outbox has sent again: dure relay republish";
      const facts = { source: sources.join(", "), what };
      if (!this.#said.has(sent.scope)) this.#parts.logger.error(message, facts);
      this.#said.add(sent.scope);
      throw new DureError("BROKER_DATA_LOST", `${message} (${what}; ${sources.join(", ")})`);
    }
    this.#said.delete(sent.scope);
    const ids = (rest[0] as readonly unknown[]).map(String); // an array, as the script returns it
    for (const [place, { stream }] of sent.chunk.entries()) {
      const id = ids[place];
      if (id !== undefined && !id.startsWith("!")) sent.marks.lastIds.set(stream, id);
    }
    return ids;
  }

  async #known(source: string): Promise<readonly Watermark[]> {
    const marks = await this.#watermarks.get(source);
    if (marks === undefined) return [];
    const places = [...marks.lastIds].map(([place, id]) => ({ place, mark: sortable(id) }));
    return [{ place: this.#parts.names.memory, mark: marks.memoryId }, ...places];
  }

  async #remember(
    source: string,
    { incarnation, watermarks }: { incarnation: number; watermarks: readonly Watermark[] },
  ): Promise<void> {
    const { memory } = this.#parts.names;
    const own = memory.slice(0, -"memory".length);
    const known = new Map(
      watermarks.flatMap(({ place, mark }) => (place.startsWith(own) ? [[place, mark]] : [])),
    );
    if (known.size === 0) return;
    const memoryId = known.get(memory) ?? (await openStreams(this.#parts));
    known.delete(memory);
    const lastIds = new Map([...known].map(([stream, mark]) => [stream, idOf(mark)]));
    const marks = { memoryId, lastIds };
    this.#watermarks.set(source, Promise.resolve(marks));
    const sending = {
      scope: source,
      marks,
      chunk: [],
      incarnations: new Map([[source, incarnation]]),
    };
    await this.#sendTo(sending, [], AbortSignal.timeout(this.#parts.commandMsMax));
  }

  /** @throws CONFIGURATION_INVALID when others use another number of partitions */
  #marksOf(scope: string): Promise<Watermarks> {
    const known = this.#watermarks.get(scope);
    if (known !== undefined) return known;
    const opening = openStreams(this.#parts).then((memoryId) => ({
      memoryId,
      lastIds: new Map<string, string>(),
    }));
    this.#watermarks.set(scope, opening);
    opening.catch(() => {
      if (this.#watermarks.get(scope) === opening) this.#watermarks.delete(scope);
    });
    return opening;
  }
}

/**
 * Marks Redis's memory where it is new, and resolves to the mark.
 * @throws CONFIGURATION_INVALID when others use another number of partitions
 */
export async function openStreams({
  client,
  names,
  partitions,
  clock,
  commandMsMax,
}: Pick<
  StreamsPublisherParts,
  "client" | "names" | "partitions" | "clock" | "commandMsMax"
>): Promise<string> {
  const call = { keys: [names.memory], args: [newId(clock), `${partitions}`] };
  const reply = await redisEval(client, openMemory, call, { timeoutMs: commandMsMax });
  const [memoryId = "", found = ""] = (reply as readonly unknown[]).map(String); // as the script returns it
  if (Number(found) !== partitions) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      `redisStreamsTransport: partitions is ${partitions} here and ${found} in Redis: the same everywhere, and never changed, or keys lose their order`,
    );
  }
  return memoryId;
}

function counted(rows: readonly (readonly string[])[]): readonly string[] {
  return [`${rows.length}`, ...rows.flat()];
}

/** The newest incarnation of each source: what an outbox sends again after a repair has a higher one. */
function incarnationsOf(chunk: readonly Addressed[]): ReadonlyMap<string, number> {
  const incarnations = new Map<string, number>();
  for (const { message } of chunk) {
    const { source, incarnation = 0 } = message;
    incarnations.set(source, Math.max(incarnation, incarnations.get(source) ?? 0));
  }
  return incarnations;
}

function* chunksOf(addressed: readonly Addressed[]): Generator<readonly Addressed[]> {
  let chunk: Addressed[] = [];
  let bytes = 0;
  for (const item of addressed) {
    const isFull = chunk.length >= chunkMessagesMax || bytes + item.bytes > chunkBytesMax;
    if (isFull && chunk.length > 0) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += item.bytes;
  }
  if (chunk.length > 0) yield chunk;
}

function outcomeOf(id: string): PublishOutcome {
  if (!id.startsWith("!")) return { kind: "accepted" };
  if (id === "!FULL") {
    const error = "the stream is at streamLengthMax with messages that a group has not handled";
    return { kind: "unavailable", code: "STREAM_FULL", error };
  }
  const code = /^!(?:ERR )?([A-Z]+)/.exec(id)?.[1] ?? "ERR";
  return { kind: "unavailable", code, error: id.slice(1) };
}

function refusal(bytes: number, isBehind: boolean): PublishOutcome {
  if (isBehind) {
    const error = "an earlier message of its key was refused";
    return { kind: "refused", code: "BEHIND_REFUSED", error, isPermanent: false };
  }
  const error = `the message has ${bytes} bytes, ${messageBytesMax} at most`;
  return { kind: "refused", code: "MESSAGE_TOO_LARGE", error, isPermanent: true };
}

/** An id as text that grows with it. */
function sortable(id: string): string {
  return id
    .split("-")
    .map((part) => part.padStart(20, "0"))
    .join("-");
}

function idOf(mark: string): string {
  return mark
    .split("-")
    .map((part) => BigInt(part).toString())
    .join("-");
}
