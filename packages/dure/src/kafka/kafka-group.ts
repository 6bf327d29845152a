import { DureError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type {
  KafkaAssignment,
  KafkaConsumer,
  KafkaConsumerSettings,
  KafkaOffset,
} from "./clients.ts";
import { explain } from "./kafka-error.ts";

/** How a member keeps its place in its group; all of it has a default. */
export interface KafkaGroupOptions {
  /** After this long without a sign of life a member's partitions go to others. Kafka's least is 6000. @defaultValue 10000 */
  readonly sessionMs?: number;
  /** How often it says that it lives, and hears that others have come or gone. @defaultValue 1000 */
  readonly heartbeatMs?: number;
  /** How long the group waits for a member to join again. @defaultValue 30000 */
  readonly rebalanceMs?: number;
  /** How long a partition that goes to another member is kept for what is under way in it. @defaultValue 5000 */
  readonly handOverMs?: number;
}

/** What a membership is made of. */
export interface KafkaGroupParts {
  readonly group: string;
  readonly topics: readonly string[];
  readonly settings: Required<KafkaGroupOptions>;
  readonly createConsumer: (settings: KafkaConsumerSettings) => KafkaConsumer;
  readonly logger: Logger;
  /** Before the group is joined (again): lets go, in peace, of what is not among these partitions any more. */
  readonly onRevoked: (kept: readonly KafkaAssignment[]) => Promise<void>;
  /** The partitions may have changed. */
  readonly onAssigned: () => void;
}

/**
 * One life as a member of a group, with two clients: one for the group's business, and one for fetches,
 * which wait at the broker and would hold up heartbeats and commits behind them.
 *
 * Rebalances are cooperative: a partition that stays is not let go of. What goes is withheld from the
 * others (by not joining yet) until what is under way in it is done and committed, for `handOverMs` at most.
 */
export class KafkaGroup {
  readonly #parts: KafkaGroupParts;
  readonly #member: KafkaConsumer;
  readonly #reader: KafkaConsumer;
  #isJoining = true;
  #failure: unknown;

  constructor(parts: KafkaGroupParts) {
    this.#parts = parts;
    const settings = this.#consumerSettings();
    this.#member = parts.createConsumer(settings);
    this.#reader = parts.createConsumer({ ...settings, protocolsMetadata: noMetadata });
    for (const client of [this.#member, this.#reader]) {
      client.topics.trackAll(...parts.topics);
      client.on("error", (error) => {
        this.#failure ??= error;
      });
    }
    this.#member.on("consumer:group:join", () => {
      this.#isJoining = false;
      parts.onAssigned();
    });
    this.#member.on("consumer:rejoin", () => {
      // Said after the attempt, also when it failed: then nothing tries again by itself.
      if (!this.#member.isActive())
        this.#failure ??= new Error("the group could not be joined again");
    });
  }

  /** For fetches and for asking about offsets. */
  get reader(): KafkaConsumer {
    return this.#reader;
  }

  get assignments(): readonly KafkaAssignment[] {
    return this.#member.assignments ?? [];
  }

  /** Why this life is over; undefined: it is not. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Whether offsets can be committed now: not while the group is joined. */
  get canCommit(): boolean {
    return !this.#isJoining && this.#failure === undefined && this.#member.isActive();
  }

  /** Resolves when partitions have been assigned, none perhaps. */
  async join(): Promise<void> {
    await this.#member.joinGroup({});
    if (this.#failure !== undefined) throw notJoined(this.#parts.group, this.#failure);
  }

  commit(offsets: KafkaOffset[]): Promise<void> {
    return this.#member.commit({ offsets });
  }

  committed(topics: KafkaAssignment[]): Promise<Map<string, bigint[]>> {
    return this.#member.listCommittedOffsets({ topics });
  }

  /** Leaves, so that the others take over at once, and closes both clients. Never rejects. */
  async leave(): Promise<void> {
    const { logger, group } = this.#parts;
    const warn = (error: unknown): void => {
      const facts = { group, error: explain(error) };
      logger.warn("consumer could not leave its group: it is over when its session ends", facts);
    };
    if (this.#failure === undefined) await this.#member.leaveGroup().catch(warn);
    await Promise.all([this.#member.close().catch(warn), this.#reader.close().catch(warn)]);
  }

  #consumerSettings(): KafkaConsumerSettings {
    const { group, settings } = this.#parts;
    return {
      groupId: group,
      autocommit: false,
      sessionTimeout: settings.sessionMs,
      rebalanceTimeout: settings.rebalanceMs,
      heartbeatInterval: settings.heartbeatMs,
      protocols: [{ name: "cooperative-sticky", version: 3 }],
      protocolsMetadata: async () => {
        this.#isJoining = true;
        await this.#parts.onRevoked(this.assignments);
        return noBytes;
      },
    };
  }
}

const noBytes: Buffer = Buffer.alloc(0);

function noMetadata(): Promise<Buffer> {
  return Promise.resolve(noBytes);
}

function notJoined(group: string, cause: unknown): DureError {
  return new DureError(
    "BROKER_UNAVAILABLE",
    `group "${group}" could not be joined: ${explain(cause)}`,
    { cause },
  );
}
