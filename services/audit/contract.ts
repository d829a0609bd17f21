import { z } from "zod";

/**
 * The audit log: what happened, by whom, from where, on which node. One chain of lines per node, append-only; see
 * docs/reference/audit.md for the form.
 */

export const AUDIT_KINDS = [
  /** First line of each segment: which node and process write it, and where the chain stood. */
  "segment",
  "start",
  "stop",
  "login",
  "login-refused",
  "logout",
  "transfer",
  /** Delete, rename, mkdir, rmdir, link. */
  "file",
  "admin",
  "ban",
  /** The node's own state. */
  "state",
  "coordinator",
  /** Which node is the active one (mode active-passive). */
  "active",
  /** What the account life did: disabled, removed, notice sent. */
  "life",
  /** Old segments that left the shared storage, and where their chains begin since (retention.ts). */
  "retention",
  /** Records that could not be kept: how many. */
  "gap",
] as const;
export type AuditKind = (typeof AUDIT_KINDS)[number];

/** What happened, as its observer tells it. Never holds a secret: see mask.ts for configuration. */
export interface AuditEntry {
  readonly kind: AuditKind;
  /** One or few fixed words: `upload`, `delete`, `put account`. */
  readonly what: string;
  /** One word: `ok`, `complete`, `partial`, `failed`, `unknown`, `refused`, `started`. */
  readonly outcome: string;
  /** Account, administrator or node. */
  readonly who?: string | undefined;
  /** The client's own address (P9). */
  readonly client?: string | undefined;
  /** As the client named it. */
  readonly path?: string | undefined;
  /** Of a rename or link. */
  readonly target?: string | undefined;
  readonly bytes?: number | undefined;
  readonly session?: string | undefined;
  readonly transfer?: string | undefined;
  /** Of a change to the storage: the same on each record of the same change, so that a repeat shows. */
  readonly op?: string | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** One line. Not strict: a newer node of a rolling upgrade may say more. */
export const auditRecordSchema = z.looseObject({
  /** Grows by one with each line of the node's chain, from 1. */
  seq: z.int().min(1),
  /** SHA-256 (hex) of the line before, without its newline; zeros for the chain's first. */
  prev: z.string().regex(/^[0-9a-f]{64}$/),
  /** ISO 8601, milliseconds, UTC. */
  time: z.string(),
  /** The node's name. */
  node: z.string(),
  kind: z.enum(AUDIT_KINDS),
  what: z.string(),
  outcome: z.string(),
  who: z.string().optional(),
  client: z.string().optional(),
  path: z.string().optional(),
  target: z.string().optional(),
  bytes: z.number().optional(),
  session: z.string().optional(),
  transfer: z.string().optional(),
  op: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
  /** First half of the SHA-256 of the line as it is without this field: damage to the newest line shows, too. */
  sum: z.string(),
});
export type AuditRecord = z.infer<typeof auditRecordSchema>;

/** Where things are told that belong on the record. Cheap: nothing is written on the caller's way. */
export interface AuditSink {
  /** In the order of the calls. Never throws; what can't be kept is counted and shows as a `gap`. */
  record(entry: AuditEntry): void;
  /**
   * Resolves when the record is on the node's disk. Throws `unavailable` after `withinMs` (default 5,000): it may be
   * recorded later all the same.
   */
  recordDurably(entry: AuditEntry, withinMs?: number): Promise<void>;
}

/** Of one segment file, local or shipped: its first sequence number and the process that wrote it. */
export interface SegmentName {
  readonly seq: number;
  readonly life: string;
}

const SEGMENT = /^(\d{12})-([a-z0-9.]+)\.jsonl$/;

export function segmentFile({ seq, life }: SegmentName): string {
  return `${String(seq).padStart(12, "0")}-${life}.jsonl`;
}

/** Undefined where the file is no segment. */
export function parseSegmentFile(file: string): SegmentName | undefined {
  const match = SEGMENT.exec(file);
  return match === null ? undefined : { seq: Number(match[1]), life: match[2] ?? "" };
}

/** Below a storage's root; each node has a directory of its own there, named by its id. */
export const AUDIT_ON_STORAGE = ".longshore/audit";
