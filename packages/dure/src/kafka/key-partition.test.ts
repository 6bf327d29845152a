/** A key has the partition that Kafka's own clients give it. */
import { describe, expect, it } from "vitest";
import { keyHash } from "./key-partition.ts";

/** From Apache Kafka's own `UtilsTest.testMurmur2`. */
const known: Readonly<Record<string, number>> = {
  "21": -973932308,
  foobar: -790332482,
  "a-little-bit-long-string": -985981536,
  "a-little-bit-longer-string": -1486304829,
  lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
  abc: 479470107,
};

describe("the hash of a key", () => {
  it.each(Object.entries(known))("of %s is Kafka's, made positive", (key, hash) => {
    expect(keyHash(Buffer.from(key))).toBe(hash & 0x7fffffff);
  });

  it("counts bytes above 127 as unsigned in the last, incomplete word", () => {
    const bytes = Buffer.from("두레");
    const inTheMiddle = Buffer.concat([Buffer.from("xyz"), bytes]).subarray(3);
    expect(keyHash(inTheMiddle)).toBe(keyHash(bytes));
    expect(keyHash(Buffer.from([0xff]))).not.toBe(keyHash(Buffer.from([0x7f])));
  });
});
