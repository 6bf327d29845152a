import { DureError } from "../core/errors.ts";

/** The row has another version than the one that was read: somebody was quicker, and nothing was changed. */
export interface VersionConflict {
  readonly kind: "version-conflict";
  readonly table: string;
  readonly id: string;
  readonly expectedVersion: number;
  readonly currentVersion: number;
}

/**
 * Thrown by you to say: read again and do it again. It rolls the transaction back, and `withOptimisticRetry`
 * runs it anew.
 */
export class VersionConflictError extends DureError {
  override readonly name: string = "VersionConflictError";
  readonly table: string;
  readonly id: string;
  readonly expectedVersion: number;
  readonly currentVersion: number;

  constructor(conflict: Omit<VersionConflict, "kind">, options?: { readonly cause?: unknown }) {
    super(
      "VERSION_CONFLICT",
      `${conflict.table} ${conflict.id} has version ${conflict.currentVersion} and not ${conflict.expectedVersion}: it was changed meanwhile; read it again and do it again`,
      options,
    );
    this.table = conflict.table;
    this.id = conflict.id;
    this.expectedVersion = conflict.expectedVersion;
    this.currentVersion = conflict.currentVersion;
  }
}
