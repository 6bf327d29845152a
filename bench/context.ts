import type { EmbeddedPostgres } from "dure/embedded";
import type { Servers } from "./database.ts";
import type { Figure } from "./figure.ts";
import type { BenchOptions } from "./options.ts";

/** What every case is given. */
export interface BenchContext {
  readonly options: BenchOptions;
  /** The server of all cases. */
  readonly server: EmbeddedPostgres;
  /** For a case that needs a server that has nothing to do with the first. */
  readonly servers: Servers;
  /** Says on stderr how far it is. */
  readonly progress: (line: string) => void;
}

/** A case: measures, cleans up behind itself, and resolves to its lines of the table. */
export type BenchCase = (context: BenchContext) => Promise<readonly Figure[]>;
