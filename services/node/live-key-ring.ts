import { readFileSync, unwatchFile, watchFile } from "node:fs";
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

const LOOK_MS = 1_000;

/**
 * The cluster key, followed while the node runs: keys are added, reordered and taken away without a restart. A file that
 * can't be read or isn't a key file changes nothing. Looks at the path each second, since a secret's file is mostly
 * replaced, or a link to one, or on a mount that tells nobody of changes.
 */
export function createLiveKeyRing(path: string, first: KeyRing, logger: Logger): LiveKeyRing {
  const keys: SealKey[] = [...first];
  const callbacks = new Set<() => void>();
  const look = () => {
    try {
      const fresh = readKeyRing(readFileSync(path, "utf8"));
      if (fresh.map(({ id }) => id).join() === keys.map(({ id }) => id).join()) return;
      keys.splice(0, keys.length, ...fresh);
    } catch (error) {
      // No content in the log: a broken key file is still a secret.
      const why = error instanceof Error && !("code" in error) ? error.message : "it can't be read";
      logger.error("the cluster key file changed and can't be used; the keys of before stay in force", { path, why });
      return;
    }
    logger.info("the cluster key file changed", { seals: keys[0]?.id, opens: keys.map(({ id }) => id).join(" ") });
    for (const callback of callbacks) callback();
  };
  watchFile(path, { interval: LOOK_MS, persistent: false }, look);
  return {
    // Never empty: readKeyRing refuses a file without a key.
    ring: keys as unknown as KeyRing,
    onChange: (callback) => void callbacks.add(callback),
    stop: () => unwatchFile(path, look),
  };
}
