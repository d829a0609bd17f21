import { execFileSync } from "node:child_process";
import type { Partner } from "./partner.js";
import { type Outcome, type Running, start } from "./run.js";

/** Whether this machine's curl was built with SFTP (Debian's is, with libssh2). */
export function curlSpeaksSftp(): boolean {
  return /^Protocols:.* sftp( |$)/m.test(execFileSync("curl", ["--version"], { encoding: "utf8" }));
}

export interface CurlOptions {
  readonly port?: number;
  readonly deadlineMs?: number;
}

/** Starts `curl ... sftp://host/path`; the account's files start at `/`. */
export function startCurl(partner: Partner, path: string, args: readonly string[], options: CurlOptions = {}): Running {
  const url = `sftp://${partner.host}:${options.port ?? partner.port}${path}`;
  const login = ["--insecure", "--user", `${partner.name}:${partner.password}`];
  return start("curl", ["-q", "--silent", "--show-error", ...login, ...args, url], {
    cwd: partner.work,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  });
}

export function curl(
  partner: Partner,
  path: string,
  args: readonly string[],
  options: CurlOptions = {},
): Promise<Outcome> {
  return startCurl(partner, path, args, options).outcome;
}
