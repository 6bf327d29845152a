import { createHash } from "node:crypto";

/** What an archive holds of a partition. */
export interface ArchiveReceipt {
  readonly count: number;
  /** As {@link createArchiveChecksum} and the SQL function `partition_checksum` compute it. */
  readonly checksum: string;
}

/** Adds up what an archive holds: see {@link createArchiveChecksum}. */
export interface ArchiveChecksum {
  /** One line, without its line break. */
  add(line: string | Uint8Array): void;
  receipt(): ArchiveReceipt;
}

/**
 * Adds up what an archive holds, line by line and in any order: the sum of the first 64 bits of each line's
 * SHA-256. Feed it what you read back from the archive, not what you were about to write.
 */
export function createArchiveChecksum(): ArchiveChecksum {
  let count = 0;
  let sum = 0n;
  return {
    add(line) {
      count += 1;
      sum += createHash("sha256").update(line).digest().readBigInt64BE(0);
    },
    receipt: () => ({ count, checksum: sum.toString() }),
  };
}

const lineFeed = 0x0a;

/**
 * The receipt of an archive that is one file of lines: give it what reads the file. It splits at line feeds
 * only (`node:readline` also splits at U+2028, which may stand in a line), and holds one line at a time.
 */
export async function archiveReceiptOf(file: AsyncIterable<Uint8Array>): Promise<ArchiveReceipt> {
  const sum = createArchiveChecksum();
  let rest: Uint8Array[] = [];
  for await (const chunk of file) {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      sum.add(Buffer.concat([...rest, chunk.subarray(start, end)]));
      rest = [];
      start = end + 1;
    }
    // A copy: a stream may use the chunk's memory again.
    if (start < chunk.length) rest.push(Uint8Array.from(chunk.subarray(start)));
  }
  if (rest.length > 0) sum.add(Buffer.concat(rest));
  return sum.receipt();
}
