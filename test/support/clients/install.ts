import { spawnSync } from "node:child_process";
import { ensurePackages } from "../packages.js";

/** Commands that the acceptance tests run, and the Debian packages that hold them. */
const PACKAGES = {
  sftp: "openssh-client",
  scp: "openssh-client",
  "ssh-keygen": "openssh-client",
  "ssh-keyscan": "openssh-client",
  lftp: "lftp",
  rclone: "rclone",
  psftp: "putty-tools",
  curl: "curl",
} as const;

/** Installs what is missing (as root on Debian), or throws with the packages' names. */
export function ensureClients(...commands: readonly (keyof typeof PACKAGES)[]): void {
  ensurePackages(Object.fromEntries(commands.map((command) => [command, PACKAGES[command]])));
}

/** Debian's paramiko is a module, not a program: it is there when its own python can import it. */
export function ensureParamiko(): void {
  const there = () => spawnSync("/usr/bin/python3", ["-c", "import paramiko"]).status === 0;
  if (there()) return;
  // The package brings no program of its own; naming one that can't exist makes ensurePackages install it.
  try {
    ensurePackages({ "python3-paramiko (module)": "python3-paramiko" });
  } catch (error) {
    if (!there()) throw error;
  }
}
