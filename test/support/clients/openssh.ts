import { writeFileSync } from "node:fs";
import type { Partner } from "./partner.js";
import { type Outcome, type Running, run, start } from "./run.js";

export interface OpensshOptions {
  /** Instead of the balancer's: a proxy that breaks things on the way. */
  readonly port?: number;
  /** More `-o` settings: `RekeyLimit=64M`. */
  readonly settings?: readonly string[];
  /** Kbit/s (`-l`): an upload that lasts long enough to be interrupted. */
  readonly limit?: number;
  /** `-B` and `-R`: bytes a request and requests in flight. */
  readonly buffer?: number;
  readonly requests?: number;
  readonly deadlineMs?: number;
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** The options that every OpenSSH program gets; the host key is learnt once and must stay the same on every node. */
export function sshSettings(partner: Partner): string[] {
  return [
    `IdentityFile=${partner.keyFile}`,
    `UserKnownHostsFile=${partner.knownHosts}`,
    "GlobalKnownHostsFile=/dev/null",
    "StrictHostKeyChecking=accept-new",
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    "ConnectTimeout=10",
    "LogLevel=ERROR",
  ];
}

function common(partner: Partner, options: OpensshOptions): string[] {
  // The first of two values counts. The alias makes known_hosts hold one identity, whatever port a test goes through.
  const settings = [...(options.settings ?? []), ...sshSettings(partner), "HostKeyAlias=longshore-site"];
  return [
    "-F",
    "/dev/null",
    ...settings.flatMap((setting) => ["-o", setting]),
    "-P",
    `${options.port ?? partner.port}`,
    ...(options.limit === undefined ? [] : ["-l", `${options.limit}`]),
    ...(options.args ?? []),
  ];
}

let batches = 0;

/** Starts `sftp -b` with these commands, in the partner's directory. A failed command ends the batch (prefix `-`: goes on). */
export function startSftp(partner: Partner, commands: readonly string[], options: OpensshOptions = {}): Running {
  const batch = partner.local(`.batch-${batches++}`);
  writeFileSync(batch, `${commands.join("\n")}\n`);
  const tuning = [
    ...(options.buffer === undefined ? [] : ["-B", `${options.buffer}`]),
    ...(options.requests === undefined ? [] : ["-R", `${options.requests}`]),
  ];
  return start("sftp", ["-b", batch, ...tuning, ...common(partner, options), `${partner.name}@${partner.host}`], {
    cwd: partner.work,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
}

export function sftp(partner: Partner, commands: readonly string[], options: OpensshOptions = {}): Promise<Outcome> {
  return startSftp(partner, commands, options).outcome;
}

/** Starts scp; `remote(path)` spells a remote name. It speaks SFTP (9.0 and later). */
export function startScp(partner: Partner, args: readonly string[], options: OpensshOptions = {}): Running {
  return start("scp", [...common(partner, options), ...args], {
    cwd: partner.work,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  });
}

export function scp(partner: Partner, args: readonly string[], options: OpensshOptions = {}): Promise<Outcome> {
  return startScp(partner, args, options).outcome;
}

export function remote(partner: Partner, path: string): string {
  return `${partner.name}@${partner.host}:${path}`;
}

/**
 * Makes known_hosts hold the site's keys of all types (Go's clients want the type that they negotiate) and returns the
 * SHA-256 fingerprint of the ed25519 one, for clients that take only that.
 */
export async function learnHostKey(partner: Partner): Promise<string> {
  const scan = await run("ssh-keyscan", ["-p", `${partner.port}`, partner.host]);
  if (!scan.stdout.includes("ssh-ed25519")) throw new Error(`ssh-keyscan found no key: ${scan.stderr}`);
  writeFileSync(partner.knownHosts, scan.stdout);
  const print = await run("ssh-keygen", ["-l", "-E", "sha256", "-f", partner.knownHosts]);
  const fingerprint = /(SHA256:\S+) .*\(ED25519\)/.exec(print.stdout)?.[1];
  if (fingerprint === undefined) throw new Error(`no fingerprint in: ${print.stdout}${print.stderr}`);
  return fingerprint;
}
