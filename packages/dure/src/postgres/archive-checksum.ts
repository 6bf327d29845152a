import { createHash } from "node:crypto";

/** What an archive holds of a partition. */
export interface ArchiveReceipt {
  readonly count: number;
  /** As {@link createArchiveChecksum} and the SQL function `partition_checksum` compute it. */
  readonly checksum: string;
}

/**
 * Adds up what an archive holds, line by line and in any order: the sum of the first 64 bits of each line's
 * SHA-256. Feed it what you read back from the archive, not what you were about to write.
 */
export function createArchiveChecksum(): {
  add(line: string): void;
  receipt(): ArchiveReceipt;
} {
  let count = 0;
  let sum = 0n;
  return {
    add(line) {
      count += 1;
      sum += createHash("sha256").update(line, "utf8").digest().readBigInt64BE(0);
    },
    receipt: () => ({ count, checksum: sum.toString() }),
  };
}
