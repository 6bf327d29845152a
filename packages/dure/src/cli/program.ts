import { Command, CommanderError, Option } from "commander";
import { addDeadLetterCommands } from "./dead-letter-commands.ts";
import { describeFailure } from "./failure.ts";
import { addGraphCommand } from "./graph-command.ts";
import { addLockCommands } from "./lock-commands.ts";
import { runMigrate } from "./migrate-command.ts";
import type { MigrateCommandOptions } from "./migrate-command.ts";
import type { DatabaseOptions } from "./database.ts";
import type { CliOutput } from "./output.ts";
import { addRelayCommands } from "./relay-commands.ts";
import { addSagaCommands } from "./saga-commands.ts";
import { addSemaphoreCommands } from "./semaphore-commands.ts";
import { runStatus } from "./status-command.ts";

/** Runs one command line and answers its exit code: 0 done, 1 failed, 2 used wrongly. Never rejects. */
export async function runCli(args: readonly string[], output: CliOutput): Promise<number> {
  const program = createProgram(output);
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    // Commander has written what it has to say by itself.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const failure = describeFailure(error);
    output.error(failure.line);
    if (output.isDebugging && error instanceof Error) output.error(error.stack ?? "");
    return failure.exitCode;
  }
}

function createProgram(output: CliOutput): Command {
  const program = new Command("dure")
    .description(
      "Looks after the tables of dure: migrations, status, relays, sagas, locks, semaphores, dead letters; draws and checks sagas.",
    )
    .exitOverride()
    .showHelpAfterError('Try "dure --help", or --help after a command.')
    .configureOutput({
      writeOut: (text) => output.out(text.trimEnd()),
      writeErr: (text) => output.error(text.trimEnd()),
    });
  withDatabase(program.command("migrate"))
    .description("Bring the schema up to this version; or print the SQL for another tool.")
    .option("--print", "print all migrations as one SQL script, and connect to nothing")
    .action((options: MigrateCommandOptions) => runMigrate(options, output));
  withDatabase(program.command("status"))
    .description("Show backlog, dead letters and relays.")
    .option("--json", "print JSON")
    .action((options: DatabaseOptions & { readonly json?: true }) => runStatus(options, output));
  addRelayCommands(program, withDatabase, output);
  addDeadLetterCommands(program, withDatabase, output);
  addSagaCommands(program, withDatabase, output);
  addLockCommands(program, withDatabase, output);
  addSemaphoreCommands(program, withDatabase, output);
  addGraphCommand(program, output);
  return program;
}

function withDatabase(command: Command): Command {
  return command
    .addOption(
      new Option("--database-url <url>", "postgres://user:password@host:5432/database").env(
        "DATABASE_URL",
      ),
    )
    .option("--schema <name>", "the schema of dure's tables", "dure");
}
