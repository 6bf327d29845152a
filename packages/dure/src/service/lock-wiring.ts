import { hostname } from "node:os";
import { createLockControl } from "../admin/lock-control.ts";
import type { LockControl } from "../admin/lock-control.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { createLocks } from "../lock/locks.ts";
import type { Locks, LocksParts } from "../lock/locks.ts";
import type { DureOptions } from "./service-options.ts";

/** The locks of a service: in its own database, or where it was told to keep them. */
export function wireLocks<Client>({
  options,
  clock,
  logger,
  transaction,
}: {
  readonly options: DureOptions<Client>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly transaction: LocksParts<Client>["transaction"];
}): Locks<Client> & LockControl {
  const store = options.locks?.store ?? options.store.locks;
  const locks = createLocks<Client>({
    store,
    service: options.service,
    label: `${options.service}@${hostname()}:${process.pid}`,
    clock,
    logger,
    transaction,
    guard: (tx, { key, ...claim }) =>
      options.store.guardWrite(tx, { resource: `lock:${key}`, ...claim }),
  });
  return { ...locks, ...createLockControl(store) };
}
