import type { Partner } from "./partner.js";
import { type Outcome, type Running, start } from "./run.js";

/** Logs in and leaves `sftp` (paramiko.SFTPClient) and `transport`; the test's lines follow. */
const PREAMBLE = `
import os, sys, socket, paramiko
_key = paramiko.Ed25519Key.from_private_key_file(os.environ["KEY"])
_sock = socket.create_connection((os.environ["HOST"], int(os.environ["PORT"])), timeout=20)
transport = paramiko.Transport(_sock)
transport.start_client(timeout=20)
transport.auth_publickey(os.environ["ACCOUNT"], _key)
sftp = paramiko.SFTPClient.from_transport(transport)
`;

/** Debian's python3-paramiko belongs to /usr/bin/python3; another python on the PATH may have none. */
export function startParamiko(
  partner: Partner,
  script: string,
  options: { readonly port?: number; readonly deadlineMs?: number } = {},
): Running {
  return start("/usr/bin/python3", ["-c", `${PREAMBLE}\n${script}\nsftp.close()\ntransport.close()\n`], {
    cwd: partner.work,
    env: {
      ...process.env,
      HOST: partner.host,
      PORT: `${options.port ?? partner.port}`,
      ACCOUNT: partner.name,
      KEY: partner.keyFile,
    },
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  });
}

export function paramiko(
  partner: Partner,
  script: string,
  options: { readonly port?: number; readonly deadlineMs?: number } = {},
): Promise<Outcome> {
  return startParamiko(partner, script, options).outcome;
}
