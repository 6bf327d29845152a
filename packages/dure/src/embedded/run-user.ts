import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { promisify } from "node:util";
import { DureError } from "../core/errors.ts";

const run = promisify(execFile);

/** The account that initdb and postgres run as. Empty: the account of this process. */
export interface RunUser {
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Chooses an account PostgreSQL accepts, since it refuses to run as root. An ordinary user runs it
 * as itself. Root runs an existing cluster as the owner of its folder, so that a cluster an ordinary
 * user made stays that user's; a new one as `postgres` if there is such an account, else as `nobody`.
 *
 * @throws DureError EMBEDDED_POSTGRES_FAILED when the cluster belongs to somebody else.
 */
export async function chooseRunUser(dataDir: string): Promise<RunUser> {
  const owner = await stat(dataDir).catch(() => undefined);
  const ownUid = process.getuid?.() ?? 0;
  if (ownUid !== 0) {
    if (owner !== undefined && owner.uid !== ownUid) {
      throw new DureError(
        "EMBEDDED_POSTGRES_FAILED",
        `The data directory ${dataDir} belongs to uid ${owner.uid} and this process runs as uid ` +
          `${ownUid}: start it as that user or as root, or choose another data directory.`,
      );
    }
    return {};
  }
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const account = (await findAccount("postgres")) ?? (await findAccount("nobody"));
  if (account !== undefined) return account;
  throw new DureError(
    "EMBEDDED_POSTGRES_FAILED",
    "PostgreSQL refuses to run as root, and neither an account postgres nor nobody exists: create one of them.",
  );
}

/** Whether the account may enter the folder; asks the kernel, so that access lists count too. */
export async function isReachable(directory: string, user: RunUser): Promise<boolean> {
  if (user.uid === undefined) return true;
  try {
    await run("/bin/sh", ["-c", 'test -x "$1"', "sh", directory], { ...user, cwd: "/" });
    return true;
  } catch {
    return false;
  }
}

async function findAccount(name: string): Promise<RunUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([run("id", ["-u", name]), run("id", ["-g", name])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}
