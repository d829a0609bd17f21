import { readFileSync } from "node:fs";
import { followFiles } from "#lib/followed-files.js";
import type { Logger } from "#lib/logger.js";
import { type KeyRing, readKeyRing, type SealKey } from "#lib/seal.js";

export interface LiveKeyRing {
  /** Always the keys of the file: one array for the node's whole life, whose content is replaced when the file changes. */
  readonly ring: KeyRing;
  /** Calls back after each change. */
  onChange(callback: () => void): void;
  /** Idempotent. */
  stop(): void;
}

/**
 * The cluster key, followed while the node runs: keys are added, reordered and taken away without a restart. A file that
 * can't be read or isn't a key file changes nothing.
 */
export function createLiveKeyRing(path: string, first: KeyRing, logger: Logger): LiveKeyRing {
  const keys: SealKey[] = [...first];
  const callbacks = new Set<() => void>();
  const stop = followFiles<KeyRing>({
    first,
    read: () => readKeyRing(readFileSync(path, "utf8")),
    same: (one, other) => idsOf(one) === idsOf(other),
    renewed(fresh) {
      keys.splice(0, keys.length, ...fresh);
      logger.info("the cluster key file changed", { seals: fresh[0].id, opens: idsOf(fresh) });
      for (const callback of callbacks) callback();
    },
    refused(error) {
      // No content in the log: a broken key file is still a secret.
      const why = error instanceof Error && !("code" in error) ? error.message : "it can't be read";
      logger.error("the cluster key file changed and can't be used; the keys of before stay in force", { path, why });
    },
  });
  return {
    // Never empty: readKeyRing refuses a file without a key.
    ring: keys as unknown as KeyRing,
    onChange: (callback) => void callbacks.add(callback),
    stop,
  };
}

function idsOf(ring: KeyRing): string {
  return ring.map(({ id }) => id).join(" ");
}
