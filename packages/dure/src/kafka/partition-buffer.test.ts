/** What may be committed is never past a message that is not done (law I3). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Delivery } from "../core/transport.ts";
import { PartitionBuffer } from "./partition-buffer.ts";

function delivery(position: number): Delivery {
  const message = {
    id: `${position}`,
    source: "s",
    topic: "t",
    key: "k",
    type: "t.x",
    version: 1,
    time: "2026-01-01T00:00:00.000Z",
    data: "{}",
    link: { kind: "unverified" },
  } as const;
  return { position, message };
}

describe("PartitionBuffer", () => {
  it("commits up to the lowest that is not done, whatever the order in which they are done", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 40 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 60 })),
        (found, guesses) => {
          const positions = found.toSorted((left, right) => left - right);
          const buffer = new PartitionBuffer(0n);
          buffer.append(positions.map(delivery), 100n);
          const open = new Set(positions);
          for (const guess of guesses.take(80)) {
            buffer.acknowledge([guess]);
            open.delete(guess);
            const lowest = Math.min(...open, 100);
            expect(buffer.lowest).toBe(BigInt(lowest));
            expect(buffer.peek(3).map(({ position }) => position)).toEqual([...open].slice(0, 3));
          }
        },
      ),
    );
  });

  it("commits behind records that are no messages, once all before them is done", () => {
    const buffer = new PartitionBuffer(5n);
    buffer.append([delivery(5), delivery(7)], 12n);
    buffer.acknowledge([7]);
    expect(buffer.uncommitted).toBeUndefined();
    buffer.acknowledge([5]);
    expect(buffer.uncommitted).toBe(12n);
    buffer.committed(12n);
    expect(buffer.uncommitted).toBeUndefined();
  });

  it("commits where it begins, if the broker does not keep that yet", () => {
    expect(new PartitionBuffer(3n, false).uncommitted).toBe(3n);
    expect(new PartitionBuffer(3n).uncommitted).toBeUndefined();
  });

  it("takes nothing twice, and forgets what was before the place it skips to", () => {
    const buffer = new PartitionBuffer(0n);
    buffer.append([delivery(0), delivery(1)], 2n);
    buffer.append([delivery(0), delivery(1), delivery(2)], 3n);
    expect(buffer.peek(10).map(({ position }) => position)).toEqual([0, 1, 2]);
    buffer.skipTo(40n);
    buffer.acknowledge([1]);
    expect([buffer.size, buffer.next, buffer.lowest]).toEqual([0, 40n, 40n]);
  });
});
