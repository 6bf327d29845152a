/**
 * The package, or an error that says how to install it. The peers are in the bench's own lock file, which
 * a fresh clone does not install: so they are imported by a name that the compiler does not follow, and
 * each is described by the few types that are used.
 */
export async function importPeer(name: string): Promise<unknown> {
  try {
    return await import(name);
  } catch (cause) {
    throw new Error(`the peer ${name} cannot be loaded; run: npm ci --prefix bench`, { cause });
  }
}
