import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { until } from "#lib/testing.js";
import { ensurePackages } from "../../support/packages.js";
import { freePort } from "../../support/ports.js";
import { start } from "../../support/processes.js";
import type { Target } from "../contract.js";

/** Debian's sshd as it is configured there, but for a port of its own and start-up limits that a benchmark meets. */
export async function startOpenssh(directory: string): Promise<Target> {
  const { sshd } = ensurePackages({ sshd: "openssh-server", sftp: "openssh-client", "ssh-keygen": "openssh-client" });
  const files = join(directory, "files");
  mkdirSync(files, { recursive: true });
  const port = await freePort();
  const makeKey = (name: string) => {
    const path = join(directory, name);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
    return path;
  };
  const hostKey = makeKey("host-key");
  const keyFile = makeKey("user-key");
  // sshd refuses to run without it; it is empty and stays.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
  const config = join(directory, "sshd_config");
  const lines = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${keyFile}.pub`,
    `PidFile ${join(directory, "sshd.pid")}`,
    "PasswordAuthentication no",
    "PermitRootLogin prohibit-password",
    "StrictModes no",
    "UsePAM no",
    // The default drops connections from the eleventh concurrent login on.
    "MaxStartups 1000:30:2000",
    "Subsystem sftp /usr/lib/openssh/sftp-server",
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const server = start(sshd, ["-D", "-e", "-f", config], { name: "sshd" });
  await until(
    "sshd answers",
    () => {
      if (!server.alive) throw new Error(server.output);
      return new Promise<boolean>((resolve) => {
        const socket = connect(port, "127.0.0.1");
        socket.once("data", () => socket.destroy()).once("close", () => resolve(socket.bytesRead > 0));
        socket.once("error", () => resolve(false));
      });
    },
    { deadlineMs: 10_000 },
  );
  return {
    name: "OpenSSH",
    host: "127.0.0.1",
    port,
    user: userInfo().username,
    keyFile,
    root: files,
    processes: () => [server.pid],
    helpers: () => [],
    stop: () => server.kill(),
  };
}
