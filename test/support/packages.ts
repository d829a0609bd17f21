import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { takeLock } from "./file-lock.js";

/**
 * Programs that tests run against for real (etcd, HAProxy, OpenSSH, ...). Where one is missing and we are root on
 * Debian, its package is installed, loudly; anywhere else the error says what to install.
 */

const LOCK = "/var/lock/longshore-test-packages.lock";
const POLICY = "/usr/sbin/policy-rc.d";
/** Seconds to wait for another test file that is installing. */
const LOCK_WAIT_S = 300;
/** Debian puts daemons there; not everybody's PATH has it. */
const EXTRA_PATH = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/** Full path of a program, or undefined. */
export function which(program: string): string | undefined {
  const directories = [...(process.env.PATH ?? "").split(delimiter), ...EXTRA_PATH];
  for (const directory of directories) {
    if (directory && existsSync(join(directory, program))) return join(directory, program);
  }
  return undefined;
}

/**
 * Makes sure that programs exist: `ensurePackages({ etcd: "etcd-server", etcdctl: "etcd-client" })` maps each program to
 * the Debian package that brings it. Returns their full paths. Synchronous, since nothing can go on without them.
 */
export function ensurePackages<Program extends string>(
  wanted: Readonly<Record<Program, string>>,
): Record<Program, string> {
  const programs = Object.keys(wanted) as Program[];
  const missing = () => programs.filter((program) => which(program) === undefined);
  if (missing().length > 0) {
    refuseUnlessInstallable(missing(), wanted);
    const release = takeLock(LOCK, LOCK_WAIT_S);
    try {
      // Another test file may have installed them while we waited for the lock.
      const packages = [...new Set(missing().map((program) => wanted[program]))];
      if (packages.length > 0) install(packages);
    } finally {
      release();
    }
  }
  const found = {} as Record<Program, string>;
  for (const program of programs) {
    const path = which(program);
    if (path === undefined) throw new Error(`the package ${wanted[program]} was installed, but brings no ${program}`);
    found[program] = path;
  }
  return found;
}

function refuseUnlessInstallable(missing: readonly string[], wanted: Readonly<Record<string, string>>): void {
  const isDebian = existsSync("/etc/debian_version") && which("apt-get") !== undefined;
  if (isDebian && process.getuid?.() === 0) return;
  const list = missing.map((program) => `${program} (Debian package ${wanted[program]})`).join(", ");
  throw new Error(`these tests need programs that are missing: ${list}. Install them, or run as root on Debian.`);
}

function install(packages: readonly string[]): void {
  const say = (text: string) => process.stderr.write(`\n*** test/support/packages: ${text}\n`);
  say(`installing the Debian packages ${packages.join(", ")}, because these tests need them`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const lockWait = `-oDPkg::Lock::Timeout=${LOCK_WAIT_S}`;
  const apt = (...args: string[]) =>
    execFileSync("apt-get", [lockWait, ...args], { env, stdio: ["ignore", 2, 2], timeout: 600_000 });
  withoutServices(() => {
    const args = ["install", "-y", "--no-install-recommends", ...packages];
    try {
      apt(...args);
    } catch {
      // Most often the package lists are missing or stale. A second failure is the caller's to see.
      say("the first try failed; updating the package lists");
      apt("update");
      apt(...args);
    }
  });
  say(`installed ${packages.join(", ")}`);
}

/** Debian starts a service as soon as it is installed, unless policy-rc.d forbids it: tests start their own. */
function withoutServices(action: () => void): void {
  const previous = existsSync(POLICY) ? readFileSync(POLICY) : undefined;
  if (previous !== undefined && /^\s*exit 101\s*$/m.test(previous.toString("utf8"))) {
    action();
    return;
  }
  writeFileSync(POLICY, "#!/bin/sh\nexit 101\n");
  chmodSync(POLICY, 0o755);
  try {
    action();
  } finally {
    if (previous === undefined) rmSync(POLICY, { force: true });
    else writeFileSync(POLICY, previous);
  }
}
