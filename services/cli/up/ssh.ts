import { connect } from "node:net";
import ssh2 from "ssh2";
import type { Address } from "#balancer/template.js";

/** The kinds of host key that a client may know a site by. */
const HOST_KEY_KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"] as const;
const TRY_MS = 5_000;

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

/** The site's host keys, one of each kind that it has, by asking it as a client does, without logging in. */
export async function fetchHostKeys(address: Address): Promise<Buffer[]> {
  const keys = await Promise.all(HOST_KEY_KINDS.map((kind) => fetchHostKey(address, kind)));
  return keys.filter((key) => key !== undefined);
}

function fetchHostKey({ host, port }: Address, kind: (typeof HOST_KEY_KINDS)[number]): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const client = new ssh2.Client();
    let found: Buffer | undefined;
    // It ends with an error in any case: we refuse the key once we have it, or there is none of this kind.
    client.on("error", () => client.destroy());
    client.on("close", () => resolve(found));
    client.connect({
      host,
      port,
      username: "-",
      readyTimeout: TRY_MS,
      algorithms: { serverHostKey: [kind] },
      hostVerifier: (key: Buffer) => {
        found = key;
        return false;
      },
    });
  });
}

/** A known_hosts file that holds the site. */
export function knownHosts({ host, port }: Address, keys: readonly Buffer[]): string {
  const name = port === 22 ? host : `[${host}]:${port}`;
  return keys.map((key) => `${name} ${kindOf(key)} ${key.toString("base64")}\n`).join("");
}

/** A public key's blob starts with its kind as an SSH string (RFC 4253, section 6.6). */
function kindOf(key: Buffer): string {
  return key.subarray(4, 4 + key.readUInt32BE(0)).toString("latin1");
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
