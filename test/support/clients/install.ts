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
  ensureModule("python3-paramiko", ["/usr/bin/python3", "-c", "import paramiko"]);
}

/** Libraries of other languages: how each shows that it is there, and the Debian package that brings it. */
const LIBRARIES: readonly { readonly shows: readonly [string, ...string[]]; readonly package: string }[] = [
  { shows: ["/usr/bin/python3", "-W", "ignore", "-c", "import asyncssh"], package: "python3-asyncssh" },
  { shows: ["perl", "-MNet::SFTP::Foreign", "-e", "1"], package: "libnet-sftp-foreign-perl" },
  { shows: ["php", "-r", "require 'Net/SFTP.php';"], package: "php-seclib" },
  { shows: ["php", "-r", "exit(extension_loaded('ssh2') ? 0 : 1);"], package: "php-ssh2" },
  { shows: ["test", "-e", "/usr/share/java/jsch.jar"], package: "libjsch-java" },
];

/** Their languages, too; Java with its compiler, for programs of one source file. */
export function ensureLibraries(): void {
  ensurePackages({ "ssh-keygen": "openssh-client", perl: "perl", php: "php-cli", javac: "default-jdk-headless" });
  for (const { shows, package: name } of LIBRARIES) ensureModule(name, shows);
}

function ensureModule(name: string, [command, ...args]: readonly [string, ...string[]]): void {
  const there = () => spawnSync(command, args, { stdio: "ignore" }).status === 0;
  if (there()) return;
  // The package brings no program of its own; naming one that can't exist makes ensurePackages install it.
  try {
    ensurePackages({ [`${name} (library)`]: name });
  } catch (error) {
    if (!there()) throw error;
  }
}
