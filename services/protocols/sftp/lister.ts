import type { DirectoryEntry } from "#sessions/contract.js";
import { type NameEntry, nameEntryBytes, namesReply } from "./encode.js";
import type { OpenDirectory } from "./handles.js";
import { longName } from "./longname.js";
import { Status } from "./protocol.js";
import type { Replies } from "./replies.js";
import { statusOf } from "./status.js";

/** READDIRs: one at a time for each handle, and none while the client doesn't read its replies. */

/** Entries asked of the session at once. */
const BATCH = 128;
/** Old clients refuse larger packets than they would send (pitfalls.md); entries that don't fit wait for the next READDIR. */
const REPLY_AT_MOST = 30_000;
/** Unread reply bytes above which listings wait. */
const WAITING_AT_MOST = 1_048_576;

/** As many of the entries as fit one reply, but at least one. Pure. */
export function fitReply(
  entries: readonly DirectoryEntry[],
  owner: string,
  now: number,
): { readonly names: readonly NameEntry[]; readonly bytes: number } {
  const names: NameEntry[] = [];
  let bytes = 0;
  for (const { name, attributes } of entries) {
    const entry = { name, attributes, longName: longName(name, attributes, owner, now) };
    const more = nameEntryBytes(entry);
    if (names.length > 0 && bytes + more > REPLY_AT_MOST) break;
    names.push(entry);
    bytes += more;
  }
  return { names, bytes };
}

/** First the two that every directory of a server's holds: phpseclib takes one without them for unreadable. */
async function nextOf(open: OpenDirectory): Promise<readonly DirectoryEntry[]> {
  const dots = (await open.dots?.()) ?? [];
  open.dots = undefined;
  return [...dots, ...(await open.directory.next(BATCH))];
}

export class Lister {
  readonly #owner: string;
  readonly #replies: Replies;
  readonly #waiting = new Set<OpenDirectory>();

  constructor(owner: string, replies: Replies) {
    this.#owner = owner;
    this.#replies = replies;
  }

  /** Takes a READDIR. */
  add(open: OpenDirectory, id: number): void {
    open.waiting.push(id);
    this.#next(open);
  }

  /** Goes on with listings that waited for room. */
  pump(): void {
    for (const open of [...this.#waiting]) {
      this.#waiting.delete(open);
      this.#next(open);
    }
  }

  #next(open: OpenDirectory): void {
    if (open.busy) return;
    if (this.#replies.waitingBytes > WAITING_AT_MOST) {
      this.#waiting.add(open);
      return;
    }
    const id = open.waiting.shift();
    if (id === undefined) return;
    open.busy = true;
    this.#list(open, id)
      .catch((error: unknown) => {
        const { code, message } = statusOf(error, "readdir");
        this.#replies.status(id, code, message);
      })
      .finally(() => {
        open.busy = false;
        this.#next(open);
      });
  }

  async #list(open: OpenDirectory, id: number): Promise<void> {
    const entries = open.leftover.length > 0 ? open.leftover : await nextOf(open);
    if (entries.length === 0) {
      this.#replies.status(id, Status.EOF, "");
      return;
    }
    const { names, bytes } = fitReply(entries, this.#owner, Date.now() / 1_000);
    open.leftover = entries.slice(names.length);
    this.#replies.reply(namesReply(id, names, bytes));
  }
}
