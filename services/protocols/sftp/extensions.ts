import { LongshoreError } from "#lib/errors.js";
import type { Session } from "#sessions/contract.js";
import { readAttributeChange } from "./attributes.js";
import type { Cursor } from "./cursor.js";
import { limitsReply, ownersReply, pathReply, volumeReply } from "./encode.js";
import type { OpenFile } from "./handles.js";

/** Extended requests (OpenSSH PROTOCOL, section 4; draft-ietf-secsh-filexfer-extensions-00 for copy-data and home-directory). */

/** What an extension may use. */
export interface ExtensionContext {
  readonly session: Session;
  readonly maxHandles: number;
  /** The open file of a handle; throws where it isn't one. */
  file(handle: number): OpenFile;
}

/** A whole reply, or undefined for STATUS OK. */
type Answer = Promise<Buffer | undefined>;

/** Decodes at once, so that a malformed request is refused before anything is started; then answers. */
type Extension = (id: number, from: Cursor, context: ExtensionContext) => Answer;

/** Names in a users-groups-by-id reply: with the longest account name the packet stays far below its limit. */
const MAX_OWNERS = 2_048;

const TABLE: ReadonlyMap<string, Extension> = new Map<string, Extension>([
  ["limits@openssh.com", async (id, _from, { maxHandles }) => limitsReply(id, maxHandles)],
  ["posix-rename@openssh.com", (_id, from, { session }) => silent(session.rename(from.text(), from.text(), true))],
  ["hardlink@openssh.com", (_id, from, { session }) => silent(session.link(from.text(), from.text()))],
  ["fsync@openssh.com", (_id, from, { file }) => silent(file(from.handle()).file.sync())],
  ["statvfs@openssh.com", async (id, from, { session }) => volumeReply(id, await session.statVolume(from.text()))],
  [
    "fstatvfs@openssh.com",
    async (id, from, { session, file }) => volumeReply(id, await session.statVolume(file(from.handle()).path)),
  ],
  [
    "lsetstat@openssh.com",
    (_id, from, { session }) => silent(session.setAttributes(from.text(), readAttributeChange(from), false)),
  ],
  ["expand-path@openssh.com", async (id, from, { session }) => pathReply(id, session.realPath(from.text()))],
  ["copy-data", copyData],
  ["home-directory", homeDirectory],
  ["users-groups-by-id@openssh.com", usersGroupsById],
]);

/** Starts an extension; undefined when there is none of that name. May throw, or reject, what `statusOf` translates. */
export function startExtension(name: string, id: number, from: Cursor, context: ExtensionContext): Answer | undefined {
  return TABLE.get(name)?.(id, from, context);
}

async function silent(work: Promise<void>): Answer {
  await work;
  return undefined;
}

function copyData(_id: number, from: Cursor, { session, file }: ExtensionContext): Answer {
  const source = file(from.handle());
  const sourceOffset = from.u64();
  const length = from.u64();
  const target = file(from.handle());
  const targetOffset = from.u64();
  // draft, section 7: the same file twice may overlap; OpenSSH refuses it whole, and so do we.
  if (source === target) throw new LongshoreError("invalid-argument", "source and target are the same handle");
  if (!source.file.readable) throw new LongshoreError("permission-denied", "source isn't open for reading");
  if (!target.file.writable) throw new LongshoreError("permission-denied", "target isn't open for writing");
  return copied(session.copy(source.file, sourceOffset, length, target.file, targetOffset));
}

async function copied(work: Promise<number>): Answer {
  await work;
  return undefined;
}

async function homeDirectory(id: number, from: Cursor, { session }: ExtensionContext): Answer {
  const name = from.text();
  // Other accounts' homes are no one's business, not even whether they exist.
  if (name !== "" && name !== session.account) throw new LongshoreError("not-found", "no such user");
  return pathReply(id, session.realPath("."));
}

/** Whatever the numbers are, what an account sees is its own: the server's users aren't told. */
async function usersGroupsById(id: number, from: Cursor, { session }: ExtensionContext): Answer {
  const users = from.bytes().length;
  const groups = from.bytes().length;
  if (users % 4 !== 0 || groups % 4 !== 0) throw new LongshoreError("invalid-argument", "ids aren't 32-bit numbers");
  if ((users + groups) / 4 > MAX_OWNERS) throw new LongshoreError("limit", "too many ids in one request");
  return ownersReply(id, session.account, users / 4, groups / 4);
}
