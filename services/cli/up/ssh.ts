import { connect } from "node:net";
import type { Address } from "#balancer/template.js";
import { kindOfKey } from "./ssh-wire.js";

/** Whether an SSH server answers at the address: its banner arrives within a second. */
export function sshAnswers({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let received = "";
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => finish(false));
    socket.on("error", () => finish(false));
    socket.on("close", () => finish(false));
    socket.on("data", (data) => {
      received += data.toString("latin1");
      if (received.length >= 8) finish(/^SSH-2\.0-/.test(received));
    });
  });
}

/** A known_hosts file that holds the site. */
export function knownHosts({ host, port }: Address, keys: readonly Buffer[]): string {
  const name = port === 22 ? host : `[${host}]:${port}`;
  return keys.map((key) => `${name} ${kindOfKey(key)} ${key.toString("base64")}\n`).join("");
}

/** A command line for OpenSSH's `sftp`, ready to paste into a shell. */
export function sftpCommand(options: {
  readonly address: Address;
  readonly account: string;
  readonly privateKeyFile: string;
  readonly knownHostsFile: string;
}): string {
  const { address, account, privateKeyFile, knownHostsFile } = options;
  // ssh splits an option's value at spaces unless it is quoted, over and above the shell's own quotes.
  const known = /\s/.test(knownHostsFile) ? `"${knownHostsFile}"` : knownHostsFile;
  return [
    "sftp",
    `-i ${shellWord(privateKeyFile)}`,
    "-o IdentitiesOnly=yes",
    `-o ${shellWord(`UserKnownHostsFile=${known}`)}`,
    `-P ${address.port}`,
    shellWord(`${account}@${address.host}`),
  ].join(" ");
}

/** Quotes a word for a POSIX shell where it needs that. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
