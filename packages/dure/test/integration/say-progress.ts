/** Prints what `look` sees once a minute, for whoever watches a long run, until it is disposed of. */
export function sayProgress(look: () => Promise<string>): Disposable {
  const startedAt = performance.now();
  const say = async (): Promise<void> => {
    const seen = await look();
    console.log(`${((performance.now() - startedAt) / 1_000).toFixed(0)} s: ${seen}`);
  };
  // Whatever is wrong, the run itself says it.
  const timer = setInterval(() => void say().catch(() => {}), 60_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
