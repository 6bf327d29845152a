import { expect, test } from "vitest";
import { percentile, seededRandom } from "./statistics.ts";

test("a percentile is a value that was measured", () => {
  const values = [30, 10, 20, 40, 50];
  expect([0.5, 0.95, 0.99].map((share) => percentile(values, share))).toEqual([30, 50, 50]);
  expect(percentile([7], 0.5)).toBe(7);
  expect(percentile([], 0.5)).toBeUndefined();
  const hundred = Array.from({ length: 100 }, (_, at) => at + 1);
  expect([0.5, 0.95, 0.99].map((share) => percentile(hundred, share))).toEqual([50, 95, 99]);
});

test("a seed decides the numbers, and they spread over 0 to 1", () => {
  const [one, other] = [seededRandom(7), seededRandom(7)];
  const numbers = Array.from({ length: 1000 }, one);
  expect(numbers).toEqual(Array.from({ length: 1000 }, other));
  expect(numbers.every((each) => each >= 0 && each < 1)).toBe(true);
  const mean = numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  expect(mean).toBeCloseTo(0.5, 1);
  expect(seededRandom(8)()).not.toBe(numbers[0]);
});
