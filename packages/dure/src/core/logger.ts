/** What the library logs through: any logger with these four methods fits (pino and console do, after a thin wrap). Facts never hold payloads or secrets. */
export interface Logger {
  debug(message: string, facts?: LogFacts): void;
  info(message: string, facts?: LogFacts): void;
  warn(message: string, facts?: LogFacts): void;
  error(message: string, facts?: LogFacts): void;
}

/** Named facts beside a log line. */
export type LogFacts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Drops everything: the default. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
