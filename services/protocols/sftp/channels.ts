import type { Connection, ServerChannel, Session as SshSession } from "ssh2";
import type { Logger } from "#lib/logger.js";

/** Channels that one connection may hold open: multiplexing clients use two or three. */
const MAX_CHANNELS = 10;

const SFTP_ONLY = "This service offers SFTP only.\r\n";
/** `scp -O`, and every scp before OpenSSH 9, runs `scp -t` or `scp -f` over here. */
const NO_SCP = "This service offers SFTP only: use sftp, or scp without -O (OpenSSH 8.7 or later, with -s before 9.0).";

/**
 * Serves an authenticated connection's channels: the SFTP subsystem to `onSftp`, everything else refused. Forwarding,
 * agent and X11 have no listener, so ssh2 refuses them; environment variables have none either.
 */
export function serveChannels(connection: Connection, logger: Logger, onSftp: (channel: ServerChannel) => void): void {
  let open = 0;
  connection.on("session", (accept, reject) => {
    if (open >= MAX_CHANNELS) {
      logger.info("channel refused: too many on one connection", { open });
      reject();
      return;
    }
    // ssh2 calls it an SshSession; it is a channel that has no use yet.
    const session: SshSession | undefined = accept();
    if (session === undefined) return;
    open++;
    let used = false;
    session.once("close", () => {
      // ssh2 never forgets a session that was closed before it had a use: those keep counting, or opening and closing
      // them in a loop would fill the memory.
      if (used) open--;
    });
    session.on("subsystem", (acceptSubsystem, rejectSubsystem, { name }) => {
      if (name !== "sftp") {
        rejectSubsystem?.();
        return;
      }
      // Undefined where this session has its use already (RFC 4254, section 6.5: one request per channel succeeds).
      const channel: ServerChannel | undefined = acceptSubsystem();
      if (channel === undefined) return;
      used = true;
      onSftp(channel);
    });
    // A terminal for the moment that it takes to say no: `ssh -tt` shows no message without one.
    session.on("pty", (acceptTerminal) => acceptTerminal?.());
    session.on("shell", (acceptShell) => {
      used = true;
      refuseWith(acceptShell(), SFTP_ONLY);
    });
    session.on("exec", (acceptExec, _reject, { command }) => {
      used = true;
      if (/^\s*(?:\S*\/)?scp(?:\s|$)/.test(command)) refuseScp(acceptExec());
      else refuseWith(acceptExec(), SFTP_ONLY);
    });
  });
}

/**
 * Says why a channel gets nothing, and ends it. A command is accepted only for that: a bare refusal shows the user
 * "request failed" and no reason.
 */
export function refuseWith(channel: ServerChannel | undefined, message: string): void {
  if (channel === undefined) return;
  channel.on("error", () => {});
  channel.stderr.write(message);
  channel.exit(1);
  channel.end();
}

/** In the scp protocol's own words, a fatal error: curl takes any other end for success, and the file would be lost. */
function refuseScp(channel: ServerChannel | undefined): void {
  if (channel === undefined) return;
  channel.on("error", () => {});
  channel.write(`\u0002${NO_SCP}\n`);
  channel.exit(1);
  channel.end();
}
