import { z } from "zod";
import { type Follower, follow } from "#config/follow.js";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import { finishApplying } from "./apply.js";

export interface WatchApplyingOptions {
  readonly coordination: Coordination;
  /** For how long a whole-site change has been on its way, in milliseconds; 0: none is. */
  readonly applyingMs: () => number;
  readonly logger: Logger;
  /** Default 5,000. */
  readonly patienceMs?: number;
}

/** Longer than a living process needs between two batches. */
const PATIENCE_MS = 5_000;
const TICK_MS = 1_000;

/** Finishes a whole-site change whose process died after it was decided. Returns how to stop that. */
export function watchApplying(options: WatchApplyingOptions): () => Promise<void> {
  const { coordination, applyingMs, logger } = options;
  let running: Promise<void> | undefined;
  const finish = async () => {
    logger.warn("a change of the whole site was decided and not finished: this node finishes it");
    try {
      await finishApplying(coordination);
    } catch (error) {
      logger.warn("the change of the whole site isn't finished yet", { error });
    }
  };
  const timer = setInterval(() => {
    if (applyingMs() < (options.patienceMs ?? PATIENCE_MS)) return;
    running ??= finish().finally(() => {
      running = undefined;
    });
  }, TICK_MS).unref();
  return async () => {
    clearInterval(timer);
    await running;
  };
}

const lastSchema = z.looseObject({ at: z.number() });

/** Follows when the last backup was made, whichever node handed it over. */
export function watchLastBackup(coordination: Coordination): {
  /** Returns how to stop it. */
  start(): () => void;
  /** Milliseconds since 1970; undefined: never, or not known. */
  at(): number | undefined;
} {
  let at: number | undefined;
  let follower: Follower | undefined;
  return {
    start() {
      follower ??= follow({
        coordination,
        prefix: keys.backupPrefix,
        onListing({ entries }) {
          const value = entries.find((entry) => entry.key === keys.lastBackup)?.value;
          if (value !== undefined) at = timeIn(value);
        },
      });
      return () => follower?.close();
    },
    at: () => at,
  };
}

function timeIn(value: string): number | undefined {
  try {
    return lastSchema.safeParse(JSON.parse(value)).data?.at;
  } catch {
    return undefined;
  }
}
