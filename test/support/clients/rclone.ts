import type { Partner } from "./partner.js";
import { type Outcome, type Running, start } from "./run.js";

export interface RcloneOptions {
  readonly port?: number;
  readonly deadlineMs?: number;
  /** `512K`, as rclone spells rates. */
  readonly limit?: string;
}

/** Arguments name the remote as `site:path`. known_hosts must hold the site's key (`learnHostKey`). */
export function startRclone(partner: Partner, args: readonly string[], options: RcloneOptions = {}): Running {
  return start(
    "rclone",
    ["--config", "/dev/null", "--retries", "1", ...(options.limit ? ["--bwlimit", options.limit] : []), ...args],
    {
      cwd: partner.work,
      env: {
        ...process.env,
        RCLONE_CONFIG_SITE_TYPE: "sftp",
        RCLONE_CONFIG_SITE_HOST: partner.host,
        RCLONE_CONFIG_SITE_PORT: `${options.port ?? partner.port}`,
        RCLONE_CONFIG_SITE_USER: partner.name,
        RCLONE_CONFIG_SITE_KEY_FILE: partner.keyFile,
        ...(options.port === undefined ? { RCLONE_CONFIG_SITE_KNOWN_HOSTS_FILE: partner.knownHosts } : {}),
      },
      ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    },
  );
}

export function rclone(partner: Partner, args: readonly string[], options: RcloneOptions = {}): Promise<Outcome> {
  return startRclone(partner, args, options).outcome;
}
