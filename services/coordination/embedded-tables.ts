import { createHash } from "node:crypto";
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { open, type RootDatabase } from "lmdb";
import type { Entry, Revision } from "./contract.js";

/** What lies under an entry's key: [key, value, createRevision, modRevision, lease or ""]. */
type Row = [string, string, Revision, Revision, string];

const META = 0;
const ENTRY = 1;
const LEASE = 2;
/**
 * LMDB's keys end at 1,978 bytes, ours may hold a path of 4,096. A longer one is stored under its head and its hash;
 * rows carry their whole key, so prefixes and order are checked there.
 */
const LONGEST_PLAIN = 1_900;
const HEAD = 1_850;
/** Makes a hashed key longer than any plain one (1,850 + 20 + 32 > 1,900), so that its length tells it apart. */
const FILLER = Buffer.alloc(20);

const REVISION_KEY = Buffer.from([META]);

/**
 * The embedded store's layout in LMDB: the revision, entries in the order of their keys' bytes (etcd's order), and an
 * index of which keys hang on which lease. Writes belong into `write`, which is one LMDB transaction.
 */
export class EmbeddedTables {
  readonly #db: RootDatabase<Row | string | number, Buffer>;

  constructor(directory: string) {
    this.#db = open<Row | string | number, Buffer>({
      path: join(directory, "store.mdb"),
      encoding: "msgpack",
      keyEncoding: "binary",
      // A commit is reported when it has been synced, not before: an acknowledged transaction survives a power cut.
      overlappingSync: false,
      // The callback's writes come as one LMDB transaction; there is nobody else to batch with.
      eventTurnBatching: false,
      cache: false,
      maxDbs: 1,
    });
    // It holds password hashes, and the directory may have been made by somebody more generous.
    chmodSync(join(directory, "store.mdb"), 0o600);
    // LMDB syncs its file, not the directory entries that lead to it.
    for (const path of [directory, dirname(directory)]) syncDirectory(path);
  }

  /** Runs `action` in one LMDB transaction; resolves when that is on the disk. Where `action` throws, nothing is kept. */
  async write<T>(action: () => T): Promise<T> {
    return await this.#db.childTransaction(action);
  }

  /** `write` for the time before anybody else uses the store: on the disk when it returns. */
  writeSync(action: () => void): void {
    this.#db.transactionSync(action);
  }

  revision(): Revision {
    const stored = this.#db.get(REVISION_KEY);
    return typeof stored === "number" ? stored : 0;
  }

  setRevision(revision: Revision): void {
    void this.#db.put(REVISION_KEY, revision);
  }

  get(key: string): Entry | undefined {
    const row = this.#db.get(entryKey(key));
    return Array.isArray(row) ? toEntry(row) : undefined;
  }

  put(entry: Entry): void {
    const before = this.get(entry.key);
    if (before?.lease !== undefined && before.lease !== entry.lease)
      void this.#db.remove(leaseKey(before.lease, entry.key));
    const row: Row = [entry.key, entry.value, entry.createRevision, entry.modRevision, entry.lease ?? ""];
    void this.#db.put(entryKey(entry.key), row);
    if (entry.lease !== undefined) void this.#db.put(leaseKey(entry.lease, entry.key), entry.key);
  }

  delete(entry: Entry): void {
    void this.#db.remove(entryKey(entry.key));
    if (entry.lease !== undefined) void this.#db.remove(leaseKey(entry.lease, entry.key));
  }

  /** Entries that start with `prefix`, in the order of their bytes, at most `limit`, only those past `after`. Synchronous: one moment's state. */
  scan(prefix: string, limit = Number.POSITIVE_INFINITY, after?: string): Entry[] {
    const bytes = Buffer.from(prefix);
    const range = rangeOf(ENTRY, bytes.subarray(0, HEAD));
    const past = after === undefined ? undefined : Buffer.from(after);
    // Whatever comes after that key begins at least with its head, hashed or not.
    if (past !== undefined) range.start = Buffer.concat([Buffer.from([ENTRY]), past.subarray(0, HEAD)]);
    const entries: Entry[] = [];
    // Entry keys of one head aren't in their own order once one of them is hashed: such a group is read to its end.
    let head: Buffer | undefined;
    for (const { key, value } of this.#db.getRange(range)) {
      const row = value as Row;
      if (!row[0].startsWith(prefix)) continue;
      if (past !== undefined && Buffer.compare(Buffer.from(row[0]), past) <= 0) continue;
      if (key.length > LONGEST_PLAIN + 1) head = Buffer.from(key.subarray(0, 1 + HEAD));
      else if (entries.length >= limit && !head?.equals(key.subarray(0, 1 + HEAD))) break;
      entries.push(toEntry(row));
    }
    if (head) entries.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
    return entries.length > limit ? entries.slice(0, limit) : entries;
  }

  /** Keys that hang on `lease`, or on any lease. */
  keysOfLease(lease?: string): string[] {
    const prefix = lease === undefined ? Buffer.alloc(0) : Buffer.from(`${lease}/`);
    const keys: string[] = [];
    for (const { value } of this.#db.getRange(rangeOf(LEASE, prefix))) keys.push(value as string);
    return keys;
  }

  async close(): Promise<void> {
    await this.#db.close();
  }
}

function toEntry([key, value, createRevision, modRevision, lease]: Row): Entry {
  return { key, value, createRevision, modRevision, ...(lease === "" ? {} : { lease }) };
}

function entryKey(key: string): Buffer {
  const bytes = Buffer.from(key);
  if (bytes.length <= LONGEST_PLAIN) return Buffer.concat([Buffer.from([ENTRY]), bytes]);
  return Buffer.concat([Buffer.from([ENTRY]), bytes.subarray(0, HEAD), FILLER, sha256(bytes)]);
}

function leaseKey(lease: string, key: string): Buffer {
  return Buffer.concat([Buffer.from([LEASE]), Buffer.from(`${lease}/`), sha256(Buffer.from(key))]);
}

function rangeOf(table: number, prefix: Buffer): { start: Buffer; end: Buffer } {
  const start = Buffer.concat([Buffer.from([table]), prefix]);
  const end = Buffer.from(start);
  end.writeUInt8(end.readUInt8(end.length - 1) + 1, end.length - 1);
  return { start, end };
}

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** Makes a directory that survives a power cut, readable by us alone. */
export function makeDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
