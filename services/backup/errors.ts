import { LongshoreError } from "#lib/errors.js";

/** The backup can't be used: damaged, of another version, or opened with the wrong key. Nothing was touched. */
export class BackupError extends LongshoreError {
  constructor(message: string, cause?: unknown) {
    super("invalid-argument", message, cause);
    this.name = "BackupError";
  }
}

/** The backup's secrets are sealed with a cluster key that this site doesn't have and that didn't come with it. */
export class ClusterKeyNeededError extends LongshoreError {
  constructor(key: string) {
    super(
      "exists",
      `the backup's secrets are sealed with the cluster key ${key}, which this site doesn't have: restore a backup that ` +
        "was made with --with-cluster-key, or add that key as a further line to the cluster key file of each node",
    );
    this.name = "ClusterKeyNeededError";
  }
}
