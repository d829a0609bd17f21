import { sshSettings } from "./openssh.js";
import type { Partner } from "./partner.js";
import { type Outcome, type Running, start } from "./run.js";

export interface LftpOptions {
  readonly port?: number;
  /** Bytes a second; 0: as fast as it goes. */
  readonly limit?: number;
  readonly deadlineMs?: number;
  readonly settings?: readonly string[];
}

/** Starts lftp with a script; it connects through OpenSSH's ssh, as it does for everyone. */
export function startLftp(partner: Partner, commands: readonly string[], options: LftpOptions = {}): Running {
  const ssh = [
    "ssh -a -x -F /dev/null",
    ...[...sshSettings(partner), "HostKeyAlias=longshore-site"].map((s) => `-o ${s}`),
  ];
  const script = [
    "set cmd:fail-exit yes",
    "set net:max-retries 8",
    "set net:reconnect-interval-base 1",
    "set net:reconnect-interval-multiplier 1",
    "set net:timeout 15",
    `set sftp:connect-program "${ssh.join(" ")}"`,
    ...(options.limit === undefined ? [] : [`set net:limit-rate 0:${options.limit}`]),
    ...(options.settings ?? []).map((setting) => `set ${setting}`),
    `open -u ${partner.name}, sftp://${partner.host}:${options.port ?? partner.port}`,
    ...commands,
  ];
  return start("lftp", ["--norc", "-c", script.join("\n")], {
    cwd: partner.work,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  });
}

export function lftp(partner: Partner, commands: readonly string[], options: LftpOptions = {}): Promise<Outcome> {
  return startLftp(partner, commands, options).outcome;
}
