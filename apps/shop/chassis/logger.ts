import { pino, stdSerializers } from "pino";
import type { DestinationStream, Logger } from "pino";
import type { ServiceName } from "./config.ts";

/** What a service's log lines have in common. */
export interface LoggerOptions {
  readonly service: ServiceName;
  /** A pino level, or `silent`. */
  readonly level: string;
  /** Where the lines go. @defaultValue standard output */
  readonly destination?: DestinationStream;
}

/**
 * A logger that writes one JSON line per entry. Errors are reduced to type, code, message and
 * stack: a driver's error also carries rows and parameters, and those are the customers'.
 */
export function createLogger(options: LoggerOptions): Logger {
  return pino(
    {
      level: options.level,
      base: { service: options.service },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: serializeError },
    },
    options.destination ?? process.stdout,
  );
}

function serializeError(error: Error): Record<string, unknown> {
  const { type, message, stack } = stdSerializers.err(error);
  const code: unknown = "code" in error ? error.code : undefined;
  return { type, message, stack, ...(code === undefined ? {} : { code }) };
}
