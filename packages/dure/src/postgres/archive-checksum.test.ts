/** The receipt of a file is that of its lines, however it is cut into chunks and whatever stands in them. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { archiveReceiptOf, createArchiveChecksum } from "./archive-checksum.ts";

it("is the same for lines, in any order, and for the file of them in any chunks", async () => {
  const line = fc
    .string({ unit: "binary", maxLength: 20 })
    .map((text) => `{${text.replaceAll("\n", "")}\u2028\r}`);
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 8 }),
      fc.integer({ min: 1, max: 40 }),
      fc.boolean(),
      async (lines, size, isClosed) => {
        const sum = createArchiveChecksum();
        for (const one of lines.toReversed()) sum.add(one);
        const text = lines.join("\n") + (isClosed && lines.length > 0 ? "\n" : "");
        const file = Buffer.from(text, "utf8");
        async function* chunks() {
          await Promise.resolve();
          for (let at = 0; at < file.length; at += size) yield file.subarray(at, at + size);
        }
        expect(await archiveReceiptOf(chunks())).toEqual(sum.receipt());
      },
    ),
  );
});

it("tells a line that is there twice, or changed, from one that is not", () => {
  const receiptOf = (...lines: string[]) => {
    const sum = createArchiveChecksum();
    for (const one of lines) sum.add(one);
    return sum.receipt();
  };
  const seen = [receiptOf(), receiptOf("a"), receiptOf("a", "a"), receiptOf("b"), receiptOf("")];
  expect(new Set(seen.map(({ checksum }) => checksum)).size).toBe(seen.length);
  expect(receiptOf("a", "b")).toEqual(receiptOf("b", "a"));
});
