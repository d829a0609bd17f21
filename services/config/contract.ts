import type { Administrator, Certificate, Group, Profile, SshKey } from "./entries.js";
import type { Account, Site } from "./schema.js";

/** The whole configuration at one revision, frozen. Each session keeps asking the view, never its own copy. */
export interface Snapshot {
  readonly revision: number;
  /** SHA-256 (hex) over the canonical form of everything in it: two nodes with the same hash run the same configuration. */
  readonly hash: string;
  readonly site: Site;
  /** As they are stored: what is in force for one, with its groups, says `effectiveAccount` (effective.ts). */
  readonly accounts: ReadonlyMap<string, Account>;
  readonly groups: ReadonlyMap<string, Group>;
  readonly profiles: ReadonlyMap<string, Profile>;
  /** Named SSH keys; not the host keys. Their private parts stay sealed. */
  readonly keys: ReadonlyMap<string, SshKey>;
  readonly certificates: ReadonlyMap<string, Certificate>;
  readonly administrators: ReadonlyMap<string, Administrator>;
  /** The cluster's SSH host keys, as OpenSSH or PEM private keys, unsealed. The same on every node. */
  readonly hostKeys: readonly string[];
}

/** Follows the store: hints wake it, lists make it sure. */
export interface ConfigView {
  /** The newest snapshot that is valid as a whole. */
  snapshot(): Snapshot;
  /** Calls back after each new snapshot; returns how to stop that. */
  onChange(callback: (snapshot: Snapshot) => void): () => void;
}
