/** Points are found by name and occurrence, and drawn the same for the same seed. */
import { describe, expect, it } from "vitest";
import { describePoint, pointsOf, samplePoints, type SeenPoint } from "./crash-point.ts";

const seen = (name: string, occurrence = 1): SeenPoint => ({ name, occurrence, when: "before" });

describe("points", () => {
  it("of two runs are steady when both came by, whatever the order", () => {
    const points = pointsOf([
      [seen("a"), seen("b"), seen("beat")],
      [seen("b"), seen("a"), seen("beat"), seen("beat", 2)],
    ]);
    expect(points.map((point) => [describePoint(point), point.isSteady])).toEqual([
      ["killed before a", true],
      ["killed before b", true],
      ["killed before beat", true],
      ["killed before beat #2", false],
    ]);
  });

  it("are drawn by seed, in their order", () => {
    const points = pointsOf([Array.from({ length: 100 }, (_, index) => seen("a", index + 1))]);
    const draw = (seed: number) =>
      samplePoints(points, { count: 10, seed }).map(({ occurrence }) => occurrence);
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(draw(7)).toEqual(draw(7).toSorted((a, b) => a - b));
    expect(new Set(draw(7)).size).toBe(10);
    expect(samplePoints(points, { count: 100, seed: 1 })).toEqual(points);
  });
});
