import { followFiles } from "#lib/followed-files.js";
import type { Logger } from "#lib/logger.js";
import { adminTokenIn } from "./local-files.js";

export interface LiveAdminToken {
  current(): string;
  /** Idempotent. */
  stop(): void;
}

/** The token of `adminTokenFile`, followed while the node runs. A file without a token changes nothing. */
export function createLiveAdminToken(path: string, first: string, logger: Logger): LiveAdminToken {
  let current = first;
  const stop = followFiles({
    first,
    read: () => adminTokenIn(path),
    same: (one, other) => one === other,
    renewed(next) {
      current = next;
      logger.info("the admin token's file changed: only the new one is taken", { path });
    },
    refused() {
      // Not the error: what it was made of may hold a token.
      logger.error("the admin token's file can't be used; the token of before stays in force", { path });
    },
  });
  return { current: () => current, stop };
}
