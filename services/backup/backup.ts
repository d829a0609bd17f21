import { checkSite } from "#config/check.js";
import { decodeConfig } from "#config/snapshot.js";
import { applyingError } from "#config/write.js";
import type { Coordination, Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import type { KeyRing } from "#lib/seal.js";
import { readKeyRing } from "#lib/seal.js";
import { type Applied, applyEntries } from "./apply.js";
import { type Archive, type Facts, PARTS, pack, unpack } from "./archive.js";
import { decodeItems, encodeItems, type Item, readShared, type Scope } from "./contents.js";
import { BackupError } from "./errors.js";
import { forSite } from "./plan.js";
import { reseal } from "./reseal.js";

/** What this node can say of itself, for its own part of a backup. */
export interface NodeData {
  readonly name: string;
  readonly id: string;
  /** The settings file's content. Names files with secrets, holds none. */
  readonly settings: string;
}

export interface BackupOptions {
  readonly coordination: Coordination;
  readonly clusterKey: KeyRing;
  readonly node: NodeData;
  /** Of Longshore. */
  readonly software: string;
}

export interface RestoreRequest {
  readonly dryRun: boolean;
  /**
   * Takes the backup's site id, too: for a site whose storage survived while its store was lost. Refused where this site's
   * nodes already use a storage.
   */
  readonly adoptStorage: boolean;
}

export interface Restored extends Applied {
  readonly facts: Facts;
}

export interface LastBackup {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly node: string;
  readonly scope: Scope;
  readonly revision: number | undefined;
}

/** Backup and restore as one node does them, unencrypted: the file's encryption is the client's, whose key stays there. */
export interface Backups {
  /** A whole archive. Throws `StoreUnavailableError`, and `busy` while a whole-site change is on its way. */
  make(scope: Scope): Promise<{ readonly archive: Buffer; readonly facts: Facts }>;
  /** Notes in the store that the archive was handed over. Throws `StoreUnavailableError`, `OutcomeUnknownError`. */
  made(facts: Facts): Promise<void>;
  /**
   * Checks the archive whole, then makes the shared data what it says. Throws `BackupError`, `ClusterKeyNeededError`,
   * and as `applyEntries`.
   */
  restore(archive: Buffer, request: RestoreRequest): Promise<Restored>;
}

export function createBackups(options: BackupOptions): Backups {
  const { coordination, clusterKey, node } = options;

  const factsOf = (scope: Scope, entries: readonly Entry[], revision: number): Facts => {
    const site = siteOf(entries);
    return {
      scope,
      createdAt: new Date().toISOString(),
      software: options.software,
      site,
      node: { name: node.name, id: node.id },
      ...(scope === "node" ? {} : { revision, entries: entries.length }),
    };
  };

  return {
    async make(scope) {
      const { entries, revision, applying } = await readShared(coordination);
      if (applying) throw applyingError();
      const parts = new Map<string, Buffer>();
      if (scope !== "node") parts.set(PARTS.entries, await encodeItems(entries));
      if (scope !== "shared") {
        parts.set(PARTS.nodeSettings, Buffer.from(node.settings));
        parts.set(PARTS.nodeId, Buffer.from(`${node.id}\n`));
      }
      const facts = factsOf(scope, entries, revision);
      return { archive: await pack({ facts, parts }), facts };
    },

    async made(facts) {
      const { scope, revision } = facts;
      const last: LastBackup = { at: Date.parse(facts.createdAt), node: node.name, scope, revision };
      await coordination.transact({ compare: [], apply: [{ put: keys.lastBackup, value: JSON.stringify(last) }] });
    },

    async restore(bytes, request) {
      const archive = await unpack(bytes);
      const own = (await coordination.get(keys.site))?.value;
      const keepId = request.adoptStorage ? undefined : own === undefined ? undefined : idIn(own);
      const items = itemsOf(archive, clusterKey, keepId);
      if (request.adoptStorage && (await coordination.get(keys.storeUsed("main"))) !== undefined) {
        throw new BackupError(
          "this site's nodes use a storage already: its id can't be taken from the backup any more",
        );
      }
      const applied = await applyEntries(coordination, items, { dryRun: request.dryRun });
      return { ...applied, facts: archive.facts };
    },
  };
}

/** The entries as they shall be in this store, all of them valid. Throws `BackupError`, `ClusterKeyNeededError`. */
function itemsOf(archive: Archive, own: KeyRing, siteId: string | undefined): readonly Item[] {
  const part = archive.parts.get(PARTS.entries);
  if (part === undefined) throw new BackupError("the backup holds no shared data: it is one of a node alone");
  const theirs = archive.parts.get(PARTS.clusterKey);
  const items = decodeItems(part);
  let ring: KeyRing | undefined;
  try {
    ring = theirs && readKeyRing(theirs.toString("utf8"));
  } catch (error) {
    throw new BackupError("the backup's cluster key can't be read", error);
  }
  const sealed = items.map((item) => reseal(item, own, ring));
  const entries = sealed.map(([key, value], at) => ({ key, value, createRevision: at + 1, modRevision: at + 1 }));
  const decoded = decodeConfig(
    entries.filter(({ key }) => key.startsWith(keys.configPrefix)),
    own,
  );
  if (!decoded.valid) {
    const faults = decoded.faults.map(({ key, path, message }) => `${key}${path && ` ${path}`}: ${message}`);
    throw new BackupError(`the backup's configuration isn't valid: ${faults.join("; ")}`);
  }
  const faults = checkSite(decoded.snapshot).map(({ path, message }) => `${path}: ${message}`);
  if (faults.length > 0) throw new BackupError(`the backup's configuration isn't valid: ${faults.join("; ")}`);
  return forSite(sealed, siteId);
}

function siteOf(entries: readonly Entry[]): Facts["site"] {
  const value = entries.find((entry) => entry.key === keys.site)?.value;
  if (value === undefined) return { name: "", id: "" };
  const { name } = JSON.parse(value) as { name?: unknown };
  return { name: typeof name === "string" ? name : "", id: idIn(value) };
}

function idIn(site: string): string {
  const { id } = JSON.parse(site) as { id?: unknown };
  return typeof id === "string" ? id : "";
}
