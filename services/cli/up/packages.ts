import { spawn } from "node:child_process";
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { CliError, EXIT } from "../errors.js";

/** Debian keeps daemons where an ordinary user's PATH doesn't lead. */
const MORE_DIRECTORIES = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** The absolute path of a program, or undefined where it isn't installed. */
export function findProgram(name: string, path = process.env.PATH ?? ""): string | undefined {
  const directories = [...path.split(delimiter).filter((part) => part.startsWith("/")), ...MORE_DIRECTORIES];
  return directories.map((directory) => join(directory, name)).find((file) => isExecutable(file));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** Debian or a descendant of it, by /etc/os-release. */
export function isDebian(osRelease = readOsRelease()): boolean {
  return /^ID(_LIKE)?=.*\bdebian\b/m.test(osRelease);
}

function readOsRelease(): string {
  try {
    return readFileSync("/etc/os-release", "utf8");
  } catch {
    return "";
  }
}

/** Undefined where packages can be installed from here; else why they can't. */
export function whyNotInstall(): string | undefined {
  if (!isDebian() || findProgram("apt-get") === undefined) return "this isn't a Debian machine";
  return process.getuid?.() === 0 ? undefined : "only root may install packages";
}

export function installCommand(packages: readonly string[]): string {
  return `apt-get update && apt-get install --no-install-recommends ${packages.join(" ")}`;
}

/**
 * Runs under a lock of its own, so that two `up` at once neither meet at apt's lists nor at policy-rc.d. Packages start
 * their services unless policy-rc.d forbids it, now and (enabled) at each boot; what we install is for our own use. A
 * policy-rc.d of somebody else stays as it is, and one that a killed run left behind goes.
 */
const SCRIPT = `
set -u
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
policy=/usr/sbin/policy-rc.d
mark='# longshore up: forbids starts while it installs packages'
if grep -qsF "$mark" "$policy"; then rm -f "$policy"; fi
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\\n%s\\nexit 101\\n' "$mark" > "$policy" && chmod 755 "$policy"
fi
missing=
for package; do
  dpkg-query -W -f '\${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
apt-get -q -o Acquire::Retries=3 update || echo 'apt-get update failed; trying with the lists that are there'
apt-get -q -y --no-install-recommends -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install $missing </dev/null || exit 1
if command -v systemctl >/dev/null; then
  for package in $missing; do
    for unit in $(dpkg -L "$package" | sed -n 's|^\\(/usr\\)\\?/lib/systemd/system/\\([^/@]*\\.service\\)$|\\2|p'); do
      systemctl disable "$unit" || true
    done
  done
fi
exit 0
`;

/** Installs Debian packages. Throws a CliError with the end of apt's output where that fails. */
export async function installPackages(packages: readonly string[]): Promise<void> {
  const { code, output } = await runScript(packages);
  if (code === 0) return;
  const tail = output.trimEnd().split("\n").slice(-12).join("\n  ");
  throw new CliError(
    EXIT.missingProgram,
    `${packages.join(", ")} couldn't be installed. The end of apt's output:\n  ${tail}\nTry it by hand: ${installCommand(packages)}`,
  );
}

function runScript(packages: readonly string[]) {
  return new Promise<{ code: number | null; output: string }>((resolve, reject) => {
    // A process group of its own: Ctrl-C ends us, but mustn't tear dpkg apart; the script then comes to its own end.
    const child = spawn("flock", ["/run/lock/longshore-packages", "sh", "-c", SCRIPT, "sh", ...packages], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let output = "";
    const keep = (data: Buffer) => {
      output = (output + data.toString("utf8")).slice(-64 * 1024);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
}
