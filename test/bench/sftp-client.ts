import { type ChildProcess, spawn } from "node:child_process";
import type { Target } from "./contract.js";

/**
 * One connection of OpenSSH's own client, driven line by line (`sftp -b -`), so that a transfer can be timed without its
 * login, and the server's processes be looked at while the session is open.
 */

const mark = "Remote working directory:";

export class SftpClient {
  readonly #child: ChildProcess;
  #output = "";
  #seen = 0;
  #waiting: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #failure: Error | undefined;

  constructor(target: Target, directory: string) {
    const settings = [
      "Ciphers=aes128-gcm@openssh.com",
      "Compression=no",
      `IdentityFile=${target.keyFile}`,
      "IdentitiesOnly=yes",
      "BatchMode=yes",
      "StrictHostKeyChecking=no",
      "UserKnownHostsFile=/dev/null",
      "LogLevel=ERROR",
    ].flatMap((setting) => ["-o", setting]);
    const where = ["-P", String(target.port), `${target.user}@${target.host}`];
    this.#child = spawn("sftp", ["-F", "/dev/null", "-b", "-", ...settings, ...where], { cwd: directory });
    const read = (text: string) => {
      this.#output = (this.#output + text).slice(-8192);
      this.#seen += text.split(mark).length - 1;
      if (this.#seen > 0 && this.#waiting !== undefined) this.#settle();
    };
    this.#child.stdout?.setEncoding("utf8").on("data", read);
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#output = (this.#output + text).slice(-8192);
    });
    const fail = (why: string) => {
      this.#failure = new Error(`sftp to ${target.name} ${why}:\n${this.#output}`);
      this.#settle();
    };
    this.#child.once("error", (error) => fail(error.message));
    this.#child.once("exit", (code, signal) => fail(`ended with ${code ?? signal}`));
    this.#child.stdin?.on("error", () => undefined);
  }

  /** Of `sftp`, whose child is `ssh`; none where it didn't start. */
  get processes(): readonly number[] {
    return this.#child.pid === undefined ? [] : [this.#child.pid];
  }

  #settle(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (this.#failure !== undefined) waiting?.reject(this.#failure);
    else {
      this.#seen -= 1;
      waiting?.resolve();
    }
  }

  /** Runs one command and resolves with the seconds that it took. `pwd` behind it answers without asking the server. */
  async run(command: string): Promise<number> {
    const started = performance.now();
    await new Promise<void>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.#failure !== undefined) this.#settle();
      else this.#child.stdin?.write(`${command}\npwd\n`);
    });
    return (performance.now() - started) / 1000;
  }

  /** Resolves when the session is open. */
  async ready(): Promise<void> {
    await this.run("pwd");
    // That was two, so one more answer comes.
    await new Promise<void>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.#seen > 0 || this.#failure !== undefined) this.#settle();
    });
  }

  async close(): Promise<void> {
    if (this.#failure !== undefined) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin?.end("quit\n");
    await ended;
  }
}

/** Opens a session for `use`, and closes it whatever happens. */
export async function withSftp<T>(
  target: Target,
  directory: string,
  use: (client: SftpClient) => Promise<T>,
): Promise<T> {
  const client = new SftpClient(target, directory);
  try {
    await client.ready();
    return await use(client);
  } finally {
    await client.close();
  }
}
