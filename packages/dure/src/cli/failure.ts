import { isDureError } from "../core/errors.ts";
import { sqlStateOf } from "../postgres/index.ts";

/** A failure that is no {@link DureError}: of the connection, of the database, of the installation. */
export class CliFailure extends Error {
  override readonly name: string = "CliFailure";
  readonly url: URL | undefined;

  constructor(
    message: string | undefined,
    options: { readonly cause: unknown; readonly url?: URL },
  ) {
    super(message ?? "", options);
    this.url = options.url;
  }
}

/** What is written of an error, in one line, and the exit code: 2 when the command line is to blame. */
export function describeFailure(error: unknown): {
  readonly line: string;
  readonly exitCode: 1 | 2;
} {
  if (isDureError(error)) {
    const exitCode = error.code === "CONFIGURATION_INVALID" ? 2 : 1;
    return { line: oneLine(`error ${error.code}: ${error.message}`), exitCode };
  }
  if (error instanceof CliFailure) {
    const what =
      error.message === "" ? describeDatabaseError(error.cause, error.url) : error.message;
    return { line: oneLine(`error ${what}`), exitCode: 1 };
  }
  return { line: oneLine(`error ${messageOf(error)}`), exitCode: 1 };
}

function describeDatabaseError(cause: unknown, url: URL | undefined): string {
  const where = url === undefined ? "the database" : describeUrl(url);
  const state = sqlStateOf(cause);
  const advice = state === undefined ? undefined : adviceByState[state];
  const message = redact(messageOf(cause), url);
  if (state !== undefined) {
    return `SQLSTATE ${state} from ${where}: ${message}${advice === undefined ? "" : `; ${advice}`}`;
  }
  return `DATABASE_UNAVAILABLE: ${where} cannot be reached (${message}): is the server running, and are host and port right?`;
}

const adviceByState: Readonly<Record<string, string>> = {
  "28P01": "check user and password",
  "28000": "check the user, and what pg_hba.conf allows",
  "3D000": "create the database, or name another one",
  "42501": "the user of the URL lacks a privilege",
  "53300": "the server has no free connection; try again later",
  "57P03": "the server is starting or stopping; try again",
};

/** Never the password. */
function describeUrl(url: URL): string {
  return `${url.hostname}:${url.port === "" ? "5432" : url.port}${url.pathname}`;
}

function redact(text: string, url: URL | undefined): string {
  if (url === undefined || url.password === "") return text;
  return [url.password, decoded(url.password)].reduce(
    (rest, secret) => rest.replaceAll(secret, "***"),
    text,
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Node reports a name with several addresses as several errors, whose own message is empty. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "")
    return error.errors.map(messageOf).join(", ");
  return error instanceof Error ? error.message : String(error);
}

function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, " ");
}
