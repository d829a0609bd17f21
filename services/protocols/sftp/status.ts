import { asLongshoreError, type ErrorCode, LongshoreError } from "#lib/errors.js";
import { Status, type StatusCode } from "./protocol.js";
import type { RequestName } from "./requests.js";

/** The one table from our error codes to SFTP's (clients.md, "Extensions and codes"). */
const STATUS: Readonly<Record<ErrorCode, StatusCode>> = {
  "not-found": Status.NO_SUCH_FILE,
  // rclone, JSch, SSHJ and `curl --ftp-create-dirs` take only NO_SUCH_FILE as "make the directories first".
  "not-a-directory": Status.NO_SUCH_FILE,
  "permission-denied": Status.PERMISSION_DENIED,
  "read-only": Status.PERMISSION_DENIED,
  "invalid-argument": Status.BAD_MESSAGE,
  "name-too-long": Status.BAD_MESSAGE,
  unsupported: Status.OP_UNSUPPORTED,
  // Version 3 has no codes for the rest: FAILURE, and the message says what it is.
  exists: Status.FAILURE,
  "is-a-directory": Status.FAILURE,
  "not-empty": Status.FAILURE,
  "no-space": Status.FAILURE,
  "quota-exceeded": Status.FAILURE,
  "incomplete-upload": Status.FAILURE,
  busy: Status.FAILURE,
  superseded: Status.FAILURE,
  "cut-off": Status.FAILURE,
  "outcome-unknown": Status.FAILURE,
  unavailable: Status.FAILURE,
  limit: Status.FAILURE,
  closed: Status.FAILURE,
  io: Status.FAILURE,
};

/** Long enough for every message of ours; a cause's text never makes a packet large. */
const MAX_MESSAGE = 200;

/** What a failed request is answered with. */
export interface StatusReply {
  readonly code: StatusCode;
  readonly message: string;
  /** Not one of our own errors: somebody should read about it in the log. */
  readonly unexpected: boolean;
}

/** Where the decision table (clients.md) wants another status of one request. */
function exception(code: ErrorCode, request: RequestName): StatusCode | undefined {
  // A reader must not take an unfinished upload for a missing file or a passing fault.
  if (code === "incomplete-upload" && request === "open") return Status.PERMISSION_DENIED;
  // The CLOSE itself was no bad message: it fails because of a WRITE before it.
  if (code === "invalid-argument" && request === "close") return Status.FAILURE;
  return undefined;
}

/** Translates anything caught. Messages of errors that aren't ours are left out: they may name the server's paths. */
export function statusOf(error: unknown, request: RequestName): StatusReply {
  const known = asLongshoreError(error, "request failed");
  const code = exception(known.code, request) ?? STATUS[known.code];
  return { code, message: presentable(known.message), unexpected: !(error instanceof LongshoreError) };
}

/** Clients print messages to terminals: control characters are taken out. */
function presentable(message: string): string {
  let clean = "";
  for (const character of message.slice(0, MAX_MESSAGE)) {
    const point = character.codePointAt(0) ?? 0;
    clean += point < 0x20 || (point >= 0x7f && point < 0xa0) ? " " : character;
  }
  return clean;
}
