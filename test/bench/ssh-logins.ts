import { readFileSync } from "node:fs";
import { Client, type ConnectConfig } from "ssh2";
import type { Target } from "./contract.js";

/**
 * Logins by ssh2's client: OpenSSH's own starts a process each, which costs more than the login that it measures. The same
 * algorithms for every server, so that it isn't their choice that is compared.
 */

const ALGORITHMS: NonNullable<ConnectConfig["algorithms"]> = {
  kex: ["curve25519-sha256"],
  serverHostKey: ["ssh-ed25519"],
  cipher: ["aes128-gcm@openssh.com"],
};

function settingsFor(target: Target): ConnectConfig {
  return {
    host: target.host,
    port: target.port,
    username: target.user,
    privateKey: readFileSync(target.keyFile),
    readyTimeout: 60_000,
    keepaliveInterval: 0,
    algorithms: ALGORITHMS,
  };
}

function login(settings: ConnectConfig): Promise<Client> {
  return new Promise((resolve, reject) => {
    const client = new Client();
    client.once("error", reject).once("ready", () => {
      client.off("error", reject).on("error", () => undefined);
      resolve(client);
    });
    client.connect(settings);
  });
}

function end(client: Client): Promise<void> {
  return new Promise((resolve) => {
    client.once("close", () => resolve());
    client.end();
  });
}

/** Runs `count` tasks, `atOnce` of them at any time. */
async function pool(count: number, atOnce: number, task: () => Promise<void>): Promise<void> {
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      await task();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}

export interface Logins {
  readonly seconds: number;
  /** Milliseconds of each, from the connection to the open session. */
  readonly each: readonly number[];
}

export function timeLogins(target: Target, count: number, atOnce: number): Promise<Logins> {
  return timed(settingsFor(target), count, atOnce);
}

/** The same by password: the server's check of it is most of the work. */
export function timePasswordLogins(
  account: Required<Pick<ConnectConfig, "host" | "port" | "username" | "password">>,
  count: number,
  atOnce: number,
): Promise<Logins> {
  return timed({ ...account, readyTimeout: 60_000, algorithms: ALGORITHMS }, count, atOnce);
}

async function timed(settings: ConnectConfig, count: number, atOnce: number): Promise<Logins> {
  const each: number[] = [];
  const started = performance.now();
  await pool(count, atOnce, async () => {
    const begun = performance.now();
    const client = await login(settings);
    each.push(performance.now() - begun);
    await end(client);
  });
  return { seconds: (performance.now() - started) / 1000, each };
}

/** Opens sessions with the SFTP subsystem started, as a partner's client leaves them; returns what ends them. */
export async function openIdle(target: Target, count: number): Promise<() => Promise<void>> {
  const settings = settingsFor(target);
  const clients: Client[] = [];
  await pool(count, 8, async () => {
    const client = await login(settings);
    clients.push(client);
    await new Promise<void>((resolve, reject) => {
      client.sftp((error) => (error === undefined || error === null ? resolve() : reject(error)));
    });
  });
  return async () => {
    await Promise.all(clients.map(end));
  };
}
