/** Every order in which the things may come. */
export function permutationsOf<T>(things: readonly T[]): readonly (readonly T[])[] {
  if (things.length < 2) return [things];
  return things.flatMap((first, at) =>
    permutationsOf(things.filter((_, other) => other !== at)).map((rest) => [first, ...rest]),
  );
}
