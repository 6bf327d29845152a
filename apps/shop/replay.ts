// `npm run replay -- FILE.csv`: replays real orders at the shop and checks every one of them.
import { replayUsage } from "./replay/options.ts";
import { runReplayCommand } from "./replay/run-command.ts";
import { UsageError } from "./runtime/setup-error.ts";

process.exit(
  await runReplayCommand(process.argv.slice(2)).catch((error: unknown) => {
    const isUsage = error instanceof UsageError;
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(isUsage ? `${message}.\n\n${replayUsage}\n` : `${message}\n`);
    return isUsage ? 2 : 1;
  }),
);
