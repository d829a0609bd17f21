import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Partner } from "./partner.js";
import { type Outcome, type Running, start } from "./run.js";

/** Clients that are libraries: a short program in their own language, in the partner's directory, told by the environment. */

export interface ScriptOptions {
  readonly args?: readonly string[];
  readonly deadlineMs?: number;
  readonly env?: NodeJS.ProcessEnv;
}

function environment(partner: Partner, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    HOST: partner.host,
    PORT: `${partner.port}`,
    ACCOUNT: partner.name,
    PASSWORD: partner.password,
    KEY: partner.keyFile,
    KNOWN_HOSTS: partner.knownHosts,
    HOME: partner.work,
    ...more,
  };
}

/** Starts `command FILE ...` with the script in a file of this name in the partner's directory. */
export function startScript(
  partner: Partner,
  command: readonly string[],
  name: string,
  script: string,
  options: ScriptOptions = {},
): Running {
  const file = partner.local(name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, script);
  const [program = "", ...args] = command;
  return start(program, [...args, file, ...(options.args ?? [])], {
    cwd: partner.work,
    env: environment(partner, options.env),
    deadlineMs: options.deadlineMs ?? 120_000,
  });
}

/** asyncssh of Debian's own python. The script is the body of a coroutine with `sftp` and `conn`. */
export function asyncssh(partner: Partner, body: string, options: ScriptOptions = {}): Promise<Outcome> {
  return startAsyncssh(partner, body, options).outcome;
}

export function startAsyncssh(partner: Partner, body: string, options: ScriptOptions = {}): Running {
  const indented = body.replace(/^/gm, "            ");
  const script = `
import asyncio, os, sys, warnings
warnings.filterwarnings("ignore")
import asyncssh
async def main():
    async with asyncssh.connect(os.environ["HOST"], int(os.environ["PORT"]), username=os.environ["ACCOUNT"],
                                client_keys=[os.environ["KEY"]], known_hosts=None) as conn:
        async with conn.start_sftp_client() as sftp:
${indented}
asyncio.run(main())
`;
  return startScript(partner, ["/usr/bin/python3", "-W", "ignore"], "client.py", script, options);
}

/** Net::SFTP::Foreign, which drives OpenSSH's ssh; leaves `$sftp`. */
export function perlSftp(partner: Partner, body: string, options: ScriptOptions = {}): Promise<Outcome> {
  return startPerlSftp(partner, body, options).outcome;
}

export function startPerlSftp(partner: Partner, body: string, options: ScriptOptions = {}): Running {
  const script = `
use strict; use warnings; use Net::SFTP::Foreign;
my $sftp = Net::SFTP::Foreign->new(fs_encoding => "latin1", host => $ENV{HOST}, port => $ENV{PORT}, user => $ENV{ACCOUNT}, key_path => $ENV{KEY},
  more => ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
           "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
$sftp->die_on_error("connecting");
${body}
`;
  return startScript(partner, ["perl"], "foreign.pl", script, options);
}

/** phpseclib; leaves `$sftp`. `must($ok, $what)` ends the script with the client's own words. */
export function phpseclib(partner: Partner, body: string, options: ScriptOptions = {}): Promise<Outcome> {
  const script = `<?php
error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);
require_once 'Net/SFTP.php';
$sftp = new Net_SFTP(getenv('HOST'), (int) getenv('PORT'));
function must($ok, $what) { global $sftp; if (!$ok) { fwrite(STDERR, "$what: " . $sftp->getLastSFTPError() . "\\n"); exit(1); } }
must($sftp->login(getenv('ACCOUNT'), getenv('PASSWORD')), 'login');
${body}
`;
  return startScript(partner, ["php"], "seclib.php", script, options).outcome;
}

/** PHP's ssh2 extension (libssh2); leaves `$sftp` and `$base`, the prefix of its stream wrapper. */
export function phpSsh2(partner: Partner, body: string, options: ScriptOptions = {}): Promise<Outcome> {
  const script = `<?php
function must($ok, $what) { if (!$ok) { fwrite(STDERR, "$what failed\\n"); exit(1); } }
$c = ssh2_connect(getenv('HOST'), (int) getenv('PORT'));
must($c && ssh2_auth_password($c, getenv('ACCOUNT'), getenv('PASSWORD')), 'login');
$sftp = ssh2_sftp($c);
$base = 'ssh2.sftp://' . intval($sftp);
${body}
`;
  return startScript(partner, ["php"], "ssh2.php", script, options).outcome;
}

/** JSch, as a single source file that Java itself compiles; leaves `sftp` (ChannelSftp). */
export function jsch(partner: Partner, body: string, options: ScriptOptions = {}): Promise<Outcome> {
  return startJsch(partner, body, options).outcome;
}

export function startJsch(partner: Partner, body: string, options: ScriptOptions = {}): Running {
  const script = `
import com.jcraft.jsch.*;
import java.io.*;
import java.util.*;
public class Client {
  static void must(boolean ok, String what) { if (!ok) throw new RuntimeException(what); }
  public static void main(String[] args) throws Exception {
    JSch jsch = new JSch();
    Session session = jsch.getSession(System.getenv("ACCOUNT"), System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
    session.setPassword(System.getenv("PASSWORD"));
    session.setConfig("StrictHostKeyChecking", "no");
    session.connect(20000);
    ChannelSftp sftp = (ChannelSftp) session.openChannel("sftp");
    sftp.connect(20000);
    ${body}
    sftp.disconnect();
    session.disconnect();
  }
}
`;
  return startScript(partner, ["java", "-cp", "/usr/share/java/jsch.jar"], "Client.java", script, options);
}
