import { randomUUID } from "node:crypto";
import type { Compare, Coordination, Operation } from "#coordination/contract.js";
import { OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { createBackoff } from "#lib/backoff.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { type KeyRing, SealError } from "#lib/seal.js";
import { ClusterKeyError } from "./errors.js";
import {
  generateHostKey,
  HOST_KEY_KINDS,
  type HostKeyKind,
  hostKeyPath,
  openHostKey,
  sealHostKey,
} from "./host-keys.js";
import { encodeValue } from "./kinds.js";
import { siteSchema } from "./schema.js";
import { writeConfig } from "./write.js";

export interface BootstrapOptions {
  readonly coordination: Coordination;
  readonly clusterKey: KeyRing;
  /** The name that a new site gets. */
  readonly siteName: string;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

/** A line in the log so often while the store doesn't answer, in tries; the first one is always said. */
const SAY_EVERY = 15;

/**
 * Makes sure that the site has settings and host keys: whoever comes first makes them, in one transaction that demands
 * that they aren't there; whoever loses that race takes the winner's. Any number of nodes may call it at once, at any
 * time. Waits for the store as long as it takes. Throws `ClusterKeyError` where this node's key doesn't open them.
 */
export async function bootstrap(options: BootstrapOptions): Promise<void> {
  const { coordination, clusterKey, logger, signal } = options;
  const backoff = createBackoff({ firstMs: 200, mostMs: 2_000 });
  const made = new Map<HostKeyKind, string>();
  while (!signal?.aborted) {
    try {
      const { entries } = await coordination.list(keys.secretPrefix, { keysOnly: true });
      const present = new Set(entries.map((entry) => entry.key));
      if ((await coordination.get(keys.site)) !== undefined) present.add(keys.site);
      const missing = missingParts(present);
      if (!missing.site && missing.hostKeys.length === 0) {
        await assertOpens(coordination, clusterKey);
        return;
      }
      // Made once only: a node that loses the race throws its own away, one that waits for the store keeps them.
      for (const kind of missing.hostKeys) if (!made.has(kind)) made.set(kind, await generateHostKey(kind));
      const { compare, apply } = creation(missing, made, options);
      const result = await writeConfig(coordination, compare, apply, { record: false });
      if (result.applied) logger.info("made the site's settings and host keys", { parts: apply.length });
      else logger.debug("another node made the site's settings and host keys");
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) && !(error instanceof OutcomeUnknownError)) throw error;
      if (backoff.failures % SAY_EVERY === 0) logger.warn("waiting for the coordination store", { error });
      await backoff.wait(signal);
    }
  }
  throw new LongshoreError("closed", "stopped while waiting for the coordination store");
}

interface Missing {
  readonly site: boolean;
  readonly hostKeys: readonly HostKeyKind[];
}

export function missingParts(present: ReadonlySet<string>): Missing {
  return {
    site: !present.has(keys.site),
    hostKeys: HOST_KEY_KINDS.filter((kind) => !present.has(hostKeyPath(kind))),
  };
}

function creation(missing: Missing, made: ReadonlyMap<HostKeyKind, string>, options: BootstrapOptions) {
  const compare: Compare[] = [];
  const apply: Operation[] = [];
  const create = (key: string, value: string) => {
    compare.push({ key, is: "absent" });
    apply.push({ put: key, value });
  };
  if (missing.site) {
    create(keys.site, encodeValue("site", siteSchema.parse({ id: randomUUID(), name: options.siteName })));
  }
  for (const kind of missing.hostKeys) {
    create(hostKeyPath(kind), sealHostKey(kind, made.get(kind) ?? "", options.clusterKey));
  }
  return { compare, apply };
}

async function assertOpens(coordination: Coordination, clusterKey: KeyRing): Promise<void> {
  for (const kind of HOST_KEY_KINDS) {
    const path = hostKeyPath(kind);
    const entry = await coordination.get(path);
    if (entry === undefined) continue;
    try {
      openHostKey(path, entry.value, clusterKey);
    } catch (error) {
      // Damage of another kind is the view's to report: it isn't this node's fault.
      if (!(error instanceof SealError) || error.reason !== "no-such-key") continue;
      throw new ClusterKeyError(
        `this node's cluster key isn't the site's: ${path} is ${error.message}. Give this node the same clusterKeyFile as the other nodes`,
        error,
      );
    }
  }
}
