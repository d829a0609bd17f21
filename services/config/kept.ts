import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import type { Entry } from "#coordination/contract.js";
import { LongshoreError } from "#lib/errors.js";
import type { KeyRing, SealKey } from "#lib/seal.js";

/**
 * The configuration as a node keeps it on its own disk, for a start without the store. Entries as they stand in the
 * store, secrets still sealed: whoever reads the file has what a reader of the store would have. It is authenticated
 * with a key derived from the cluster key, the site and the node, so that nobody without the cluster key can add an
 * account, and one node's file is no other's.
 *
 * Text, a line each: `longshore-config-snapshot 1`, the header as JSON, each entry as `[key, value, createRevision,
 * modRevision]`, and at the end the HMAC-SHA-256 of all that is before it.
 */
export interface Kept {
  readonly revision: number;
  /** Milliseconds since 1970, for people. */
  readonly at: number;
  readonly entries: readonly Entry[];
}

/** Whose file it is. */
export interface KeptFor {
  readonly ring: KeyRing;
  /** The site's name in the store's keys. */
  readonly site: string;
  readonly nodeId: string;
}

/** The configuration, or the bans and lockouts as last known: neither file is taken for the other. */
export type KeptWhat = "snapshot" | "security";

/** The file isn't there to be trusted: damaged, another node's, of another version, or sealed with another key. */
export class KeptSnapshotError extends LongshoreError {
  constructor(message: string, cause?: unknown) {
    super("io", message, cause);
    this.name = "KeptSnapshotError";
  }
}

const FORMAT = "longshore-config-snapshot";
const VERSION = 1;
const MAC_LINE = "mac ";
const MAC_FORM = /^mac ([0-9a-f]{64})\n$/;
/** Entries that become one piece of text: the event loop turns between two pieces. */
const ENTRIES_A_PIECE = 256;

const revisionSchema = z.int().min(1);
const headerSchema = z.strictObject({
  site: z.string(),
  node: z.string(),
  revision: z.int().min(0),
  at: z.number(),
  entries: z.int().min(0),
});
const entrySchema = z.tuple([z.string().min(1), z.string(), revisionSchema, revisionSchema]);

/** The file's text, piece by piece; the caller writes one before it asks for the next. */
export function* encodeKept(kept: Kept, whose: KeptFor, what: KeptWhat = "snapshot"): Generator<string> {
  const mac = createHmac("sha256", keyOf(whose.ring[0], whose, what));
  const said = (piece: string): string => {
    mac.update(piece);
    return piece;
  };
  const { revision, at, entries } = kept;
  const header = { site: whose.site, node: whose.nodeId, revision, at, entries: entries.length };
  yield said(`${FORMAT} ${VERSION}\n${JSON.stringify(header)}\n`);
  for (let from = 0; from < entries.length; from += ENTRIES_A_PIECE) {
    const lines = entries
      .slice(from, from + ENTRIES_A_PIECE)
      .map(({ key, value, createRevision, modRevision }) => JSON.stringify([key, value, createRevision, modRevision]));
    yield said(`${lines.join("\n")}\n`);
  }
  yield `${MAC_LINE}${mac.digest("hex")}\n`;
}

/** Checks the HMAC before it looks at anything else. Throws `KeptSnapshotError`. */
export function decodeKept(text: string, whose: KeptFor, what: KeptWhat = "snapshot"): Kept {
  const first = text.slice(0, text.indexOf("\n") + 1);
  if (first !== `${FORMAT} ${VERSION}\n`) throw new KeptSnapshotError("it isn't a snapshot of this version");
  const end = text.lastIndexOf(MAC_LINE);
  const given = MAC_FORM.exec(text.slice(end))?.[1];
  if (given === undefined) throw new KeptSnapshotError("it is cut short");
  const body = text.slice(0, end);
  if (!isOurs(body, given, whose, what)) {
    throw new KeptSnapshotError("it was changed, or is another node's, site's or cluster key's");
  }
  try {
    const lines = body.split("\n");
    const header = headerSchema.parse(JSON.parse(lines[1] ?? ""));
    const entries = lines.slice(2, -1).map((line): Entry => {
      const [key, value, createRevision, modRevision] = entrySchema.parse(JSON.parse(line));
      return { key, value, createRevision, modRevision };
    });
    if (entries.length !== header.entries) throw new Error(`${entries.length} entries of ${header.entries}`);
    return { revision: header.revision, at: header.at, entries };
  } catch (error) {
    throw new KeptSnapshotError("its content isn't understood", error);
  }
}

/**
 * When the node last knew that its kept snapshot was the store's configuration. Two clocks: within one boot the time
 * since boot can't be set by anybody; across boots there is the wall clock alone.
 */
export interface Contact {
  /** Of the kept snapshot that was found to be current. */
  readonly revision: number;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
  readonly bootId: string;
  /** Milliseconds since boot. */
  readonly uptimeMs: number;
}

export type Clocks = Omit<Contact, "revision">;

const contactSchema = z.strictObject({
  revision: z.int().min(0),
  wallMs: z.number(),
  bootId: z.string(),
  uptimeMs: z.number(),
  mac: z.string().regex(/^[0-9a-f]{64}$/),
});

export function encodeContact(contact: Contact, whose: KeptFor): string {
  const mac = createHmac("sha256", keyOf(whose.ring[0], whose, "contact"))
    .update(contactText(contact))
    .digest("hex");
  return `${JSON.stringify({ ...contact, mac })}\n`;
}

/** Throws `KeptSnapshotError`. */
export function decodeContact(text: string, whose: KeptFor): Contact {
  try {
    const { mac, ...contact } = contactSchema.parse(JSON.parse(text));
    if (isOurs(contactText(contact), mac, whose, "contact")) return contact;
  } catch (error) {
    throw new KeptSnapshotError("the note of the last contact isn't understood", error);
  }
  throw new KeptSnapshotError("the note of the last contact was changed, or is another node's");
}

/**
 * How old a snapshot is, in milliseconds since the last contact; undefined where nobody can tell, and then it may be any
 * age: the clock was set back since, or the contact is of another snapshot.
 */
export function ageOf(kept: Kept, contact: Contact, now: Clocks): number | undefined {
  // A contact older than the snapshot is only a too early one; a newer one was with a configuration that isn't here.
  if (contact.revision > kept.revision) return undefined;
  const age = contact.bootId === now.bootId ? now.uptimeMs - contact.uptimeMs : now.wallMs - contact.wallMs;
  return age < 0 ? undefined : age;
}

function contactText({ revision, wallMs, bootId, uptimeMs }: Contact): string {
  return JSON.stringify([revision, wallMs, bootId, uptimeMs]);
}

/** Any key of the ring will do: the file may be older than the newest one. */
function isOurs(text: string, mac: string, whose: KeptFor, purpose: string): boolean {
  return whose.ring.some((key) => {
    const expected = createHmac("sha256", keyOf(key, whose, purpose))
      .update(text)
      .digest();
    return timingSafeEqual(expected, Buffer.from(mac, "hex"));
  });
}

/** RFC 5869. Names are JSON, so that no site and node together spell another pair. */
function keyOf(key: SealKey, { site, nodeId }: KeptFor, purpose: string): Buffer {
  const info = JSON.stringify([FORMAT, VERSION, purpose, site, nodeId]);
  return Buffer.from(hkdfSync("sha256", key.bytes, Buffer.alloc(0), info, 32));
}
