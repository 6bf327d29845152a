import { postgresAdmin } from "../postgres/index.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import type { CliOutput } from "./output.ts";
import { alignColumns } from "./table.ts";

/** `dure status`: what stands in the tables; nothing of any one process. */
export async function runStatus(
  options: DatabaseOptions & { readonly json?: true },
  output: CliOutput,
): Promise<void> {
  const { schema } = options;
  const status = await withCheckedPool(options, (pool) => postgresAdmin({ pool, schema }).status());
  if (options.json === true) {
    output.out(JSON.stringify(status, undefined, 2));
    return;
  }
  const rows = [
    ["pending events", String(status.pending), "written, not published yet"],
    ["oldest pending", `${status.oldestPendingSeconds.toFixed(1)} s`, "its age"],
    ["dead letters", String(status.deadLetters), "given up; see dure dead-letters list"],
    ["live sagas", String(status.liveSagas), "not ended, not parked"],
    ["parked sagas", String(status.parkedSagas), "wait for a person; see dure dead-letters list"],
    ["waiting", String(status.waiting), "tried again, or behind a failed one"],
    ["parked keys", String(status.parkedKeys), "keys that wait"],
    [
      "relays",
      String(status.relays),
      status.isPaused ? "paused: see dure relay status" : "publishing now",
    ],
    ["outbox size", `${(status.outboxBytes / 1_048_576).toFixed(1)} MiB`, "tables and indexes"],
  ];
  output.out(alignColumns(rows, { right: [1] }));
}
