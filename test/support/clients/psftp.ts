import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Partner } from "./partner.js";
import { type Outcome, type Running, start } from "./run.js";

let scripts = 0;

/** Starts PuTTY's psftp with these commands. It logs in by password (its keys have a format of their own). */
export function startPsftp(
  partner: Partner,
  fingerprint: string,
  commands: readonly string[],
  options: { readonly port?: number; readonly deadlineMs?: number } = {},
): Running {
  const script = partner.local(`.psftp-${scripts++}`);
  const secret = partner.local(".psftp-password");
  writeFileSync(script, `${commands.join("\n")}\nquit\n`);
  writeFileSync(secret, partner.password, { mode: 0o600 });
  const target = ["-P", `${options.port ?? partner.port}`, `${partner.name}@${partner.host}`];
  return start("psftp", ["-batch", "-b", script, "-bc", "-pwfile", secret, "-hostkey", fingerprint, ...target], {
    cwd: partner.work,
    env: { ...process.env, HOME: join(partner.work) },
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  });
}

export function psftp(
  partner: Partner,
  fingerprint: string,
  commands: readonly string[],
  options: { readonly port?: number; readonly deadlineMs?: number } = {},
): Promise<Outcome> {
  return startPsftp(partner, fingerprint, commands, options).outcome;
}
