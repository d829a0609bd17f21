import { accessSync, constants, readFileSync } from "node:fs";
import { until } from "#lib/testing.js";
import { ensurePackages } from "../packages.js";
import { sshSettings } from "./openssh.js";
import type { Partner } from "./partner.js";
import { run, start, succeeded } from "./run.js";

/** Why nothing can be mounted by FUSE here, or false. */
export async function cannotMountSshfs(): Promise<string | false> {
  try {
    accessSync("/dev/fuse", constants.R_OK | constants.W_OK);
  } catch {
    return "NOT TESTED: /dev/fuse can't be used here";
  }
  if (process.getuid?.() !== 0) return "NOT TESTED: mounting needs root here";
  return false;
}

export interface Mounted {
  readonly point: string;
  unmount(): Promise<void>;
}

/** The partner's home as a directory of this machine. sshfs runs in the foreground, as our child. */
export async function mountSshfs(partner: Partner): Promise<Mounted> {
  ensurePackages({ sshfs: "sshfs", fusermount3: "fuse3", git: "git", rsync: "rsync" });
  const point = partner.directory(".mounted");
  const settings = sshSettings(partner).flatMap((setting) => ["-o", setting]);
  const sshfs = start(
    "sshfs",
    ["-f", "-F", "/dev/null", "-p", `${partner.port}`, ...settings, `${partner.name}@${partner.host}:/`, point],
    { deadlineMs: 600_000 },
  );
  await until(`${point} is mounted`, () => readFileSync("/proc/mounts", "utf8").includes(` ${point} fuse.sshfs `));
  return {
    point,
    async unmount() {
      succeeded(await run("fusermount3", ["-u", "-z", point]));
      await sshfs.outcome;
    },
  };
}
