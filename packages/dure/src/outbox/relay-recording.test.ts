/** Progress that was added is recorded, however records and looks interleave; a failure is told once. */
import { describe, expect, it } from "vitest";
import { manualClock } from "../testing/manual-clock.ts";
import type { Settlement, ShardAdvance } from "./outbox-store.ts";
import { RelayRecording } from "./relay-recording.ts";

const nothing: Settlement = { parked: [], resolved: [], failed: [] };
const advance = (shard: number, low: number): ShardAdvance => ({ shard, n: low, low, done: [] });

interface Write {
  readonly lows: readonly number[];
  readonly end: () => void;
  readonly fail: (error: Error) => void;
}

function createRecording() {
  const clock = manualClock();
  const writes: Write[] = [];
  const settled: Settlement[] = [];
  let failures = 0;
  const recording = new RelayRecording({
    clock,
    write(advances, settlement) {
      settled.push(settlement);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      writes.push({ lows: advances.map(({ low }) => low), end: resolve, fail: reject });
      return promise;
    },
    onFailed: () => void (failures += 1),
  });
  const turn = async (): Promise<void> => {
    for (let count = 0; count < 20; count += 1) await Promise.resolve();
  };
  return { clock, writes, settled, recording, turn, failures: () => failures };
}

describe("a relay's recording", () => {
  it("writes at once what comes first, and together what comes within a moment: the newest of each shard", async () => {
    const { clock, writes, recording, turn } = createRecording();
    recording.add([advance(1, 1)]);
    expect(writes.map(({ lows }) => lows)).toEqual([[1]]);
    recording.add([advance(1, 2), advance(2, 7)]);
    recording.add([advance(1, 3)]);
    writes[0]?.end();
    await turn();
    expect(writes).toHaveLength(1);
    clock.advance(10);
    await turn();
    expect(writes.map(({ lows }) => lows)).toEqual([[1], [3, 7]]);
  });

  it("does not wait for the moment to pass when somebody waits for it", async () => {
    const { writes, recording, turn } = createRecording();
    recording.add([advance(1, 1)]);
    recording.add([advance(1, 2)]);
    const settled = recording.settled();
    writes[0]?.end();
    await turn();
    writes[1]?.end();
    await settled;
    expect(writes.map(({ lows }) => lows)).toEqual([[1], [2]]);
  });

  it("writes what is added while a settlement is written, and after it", async () => {
    const { writes, recording, turn } = createRecording();
    await recording.begin([], nothing);
    recording.add([advance(1, 5)]);
    writes[0]?.end();
    await turn();
    expect(writes.map(({ lows }) => lows)).toEqual([[], [5]]);
    writes[1]?.end();
    await recording.settled();
    recording.add([advance(1, 6)]);
    expect(writes.map(({ lows }) => lows)).toEqual([[], [5], [6]]);
  });

  it("writes a settlement and the progress that came with it in one record, never the progress before it", async () => {
    const { writes, settled, recording, turn } = createRecording();
    const settlement: Settlement = { parked: [], resolved: ["1"], failed: [] };
    await recording.begin([advance(1, 4)], settlement);
    expect(writes.map(({ lows }) => lows)).toEqual([[4]]);
    expect(settled).toEqual([settlement]);
    writes[0]?.end();
    await turn();
    recording.add([advance(1, 5)]);
    const begun = recording.begin([advance(1, 6)], settlement);
    await turn();
    expect(writes.map(({ lows }) => lows)).toEqual([[4], [5]]);
    writes[1]?.end();
    await begun;
    expect(writes.map(({ lows }) => lows)).toEqual([[4], [5], [6]]);
    expect(settled[2]).toEqual(settlement);
  });

  it("tells a failure once, and goes on with what comes then", async () => {
    const { writes, recording, turn, failures } = createRecording();
    recording.add([advance(1, 1)]);
    writes[0]?.fail(new Error("lost"));
    await turn();
    expect([recording.hasFailed, failures()]).toEqual([true, 1]);
    recording.add([advance(1, 2)]);
    await expect(recording.settled()).rejects.toThrow("lost");
    recording.forget();
    await recording.settled();
    recording.add([advance(1, 3)]);
    expect(writes.map(({ lows }) => lows)).toEqual([[1], [3]]);
  });
});
