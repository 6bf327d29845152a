import type { Logger as DureLogger } from "dure";
import type { Logger } from "pino";

/** Pino's logger in the shape that the library takes. */
export function messagingLogger(logger: Logger): DureLogger {
  return {
    debug: (message, facts) => logger.debug(facts ?? {}, message),
    info: (message, facts) => logger.info(facts ?? {}, message),
    warn: (message, facts) => logger.warn(facts ?? {}, message),
    error: (message, facts) => logger.error(facts ?? {}, message),
  };
}
