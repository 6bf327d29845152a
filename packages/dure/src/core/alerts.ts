import type { LogFacts, Logger } from "./logger.ts";

/** Conditions that are said once for as long as they hold, not with every look. */
export interface Alerts {
  /**
   * Says `message` when `holds` has become true. Of whom it holds stands in `facts` and, where there are
   * several, in `subject`: each is told apart.
   */
  warnWhile(holds: boolean, message: string, facts?: LogFacts, subject?: number): void;
  /** As `warnWhile`, for what a person must look at now. */
  errorWhile(holds: boolean, message: string, facts?: LogFacts, subject?: number): void;
}

/** Alerts through the given logger, with a memory of their own. */
export function createAlerts(logger: Logger): Alerts {
  const said = new Set<string>();
  const isNew = (holds: boolean, alert: string): boolean => {
    if (!holds) said.delete(alert);
    if (!holds || said.has(alert)) return false;
    said.add(alert);
    return true;
  };
  return {
    warnWhile(holds, message, facts, subject) {
      if (isNew(holds, `warn ${subject ?? ""} ${message}`)) logger.warn(message, facts);
    },
    errorWhile(holds, message, facts, subject) {
      if (isNew(holds, `error ${subject ?? ""} ${message}`)) logger.error(message, facts);
    },
  };
}
