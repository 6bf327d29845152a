/** What goes wrong on purpose while orders are posted. */
export interface Trouble {
  /** Who was hit so far, for the report. */
  readonly victims: readonly string[];
  /**
   * Aborts when the trouble has ended by itself: until then the file is posted again and again. Without it
   * the file is posted once, and the trouble ends with that.
   */
  readonly over?: AbortSignal;
  /** Ends it, and heals whatever is still broken. Rejects when the trouble itself went wrong. */
  stop(): Promise<void>;
}

/** Begins the trouble; told what to call when a service has lost what it had in memory. */
export type StartTrouble = (onKilled: (service: string) => void) => Trouble;
