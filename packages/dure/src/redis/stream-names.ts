/** Where things stand in Redis. All keys share a hash tag, so that one script may touch them in a cluster. */
export interface StreamNames {
  /** Hash: `id`, which tells one memory of Redis from the next, and `partitions`. */
  readonly memory: string;
  /** Hash: the newest epoch seen, by source and shard. */
  readonly fences: string;
  /** Hash: sources whose messages Redis has lost, and the incarnation in which that was seen. */
  readonly losses: string;
  /** Set of all topics. */
  readonly topics: string;
  /** Stream: which partitions have news. */
  readonly bell: string;
  readonly stream: (topic: string, partition: number) => string;
  /** Hash: until when each member's lease runs. */
  members(group: string): string;
  /** Hash: which member owns which partition. */
  owners(group: string): string;
  /** Hash: how often each partition has changed hands. */
  epochs(group: string): string;
}

/** The keys under a prefix. */
export function streamNames(prefix: string): StreamNames {
  const under = (rest: string): string => `{${prefix}}:${rest}`;
  return {
    memory: under("memory"),
    fences: under("fences"),
    losses: under("losses"),
    topics: under("topics"),
    bell: under("bell"),
    stream: (topic, partition) => under(`stream:${topic}:${partition}`),
    members: (group) => under(`group:${group}:members`),
    owners: (group) => under(`group:${group}:owners`),
    epochs: (group) => under(`group:${group}:epochs`),
  };
}

/**
 * The partition of a key: FNV-1a over its UTF-16 units. For good: another function, or another number of
 * partitions, would let a key's messages overtake each other.
 */
export function partitionOf(key: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193) >>> 0;
  }
  // The low bits of FNV of short keys are poor: mixed once more.
  return ((hash ^ (hash >>> 15)) >>> 0) % partitions;
}
