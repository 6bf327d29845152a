import type { LogFacts, Logger } from "./logger.ts";

/** Conditions that are said once for as long as they hold, not with every look. */
export interface Alerts {
  /** Says `message` when `holds` has become true; `facts` do not tell one condition from another. */
  warnWhile(holds: boolean, message: string, facts?: LogFacts): void;
  /** As `warnWhile`, for what a person must look at now. */
  errorWhile(holds: boolean, message: string, facts?: LogFacts): void;
}

/** Alerts through the given logger, with a memory of their own. */
export function createAlerts(logger: Logger): Alerts {
  const said = new Set<string>();
  const isNew = (holds: boolean, message: string): boolean => {
    if (!holds) said.delete(message);
    if (!holds || said.has(message)) return false;
    said.add(message);
    return true;
  };
  return {
    warnWhile(holds, message, facts) {
      if (isNew(holds, message)) logger.warn(message, facts);
    },
    errorWhile(holds, message, facts) {
      if (isNew(holds, message)) logger.error(message, facts);
    },
  };
}
