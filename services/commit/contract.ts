import type { Lease } from "#coordination/contract.js";
import type { LongshoreError } from "#lib/errors.js";
import type { PartialName, StagedFile, StatChange } from "#storage/contract.js";
import type { CommittedRecord } from "./records.js";

/** What the engine needs to know of this process's standing in the cluster (cluster/membership.ts). */
export interface Standing {
  current(): { readonly incarnation: string; readonly lease: Lease; readonly ownerRevision: number } | undefined;
  /** Calls back with each incarnation that begins; returns how to stop that. */
  onIncarnation(callback: () => void): () => void;
}

/** On whose behalf: goes into the record, and from there into the audit. */
export interface Actor {
  readonly account: string;
  readonly session: string;
  readonly address: string;
  readonly protocol: string;
  /** The transfer's id, of an upload. */
  readonly transfer?: string | undefined;
  /** As the client named it; `target` of a rename or link. */
  readonly path?: string | undefined;
  readonly target?: string | undefined;
}

/** Keeps the record of what was done. */
export interface CommitJournal {
  /**
   * Called for each change that is in place, before it leaves the store (commit.md, step 5), by whichever node finishes
   * it. Resolves when all are durable, or when waiting longer would hold partners up; never rejects. A crash behind it
   * makes another node tell of the same operation again, under the same id.
   */
  record(changes: readonly { readonly id: string; readonly record: CommittedRecord }[]): Promise<void>;
}

/** Work of somebody else that this process did: see docs/reference/metrics.md. */
export const RECOVERIES = ["placed", "closed", "swept", "taken-over"] as const;
export type Recovery = (typeof RECOVERIES)[number];

/** What the engine tells about its work; for metrics. All cheap, none may throw. */
export interface CommitObserver {
  /** `seconds`: from the close to the acknowledgement. */
  committed(seconds: number): void;
  failed(code: string): void;
  recovered(what: Recovery): void;
}

/** An upload that this process writes. Opened and closed once; every way out of it is one of the last three calls. */
export interface Upload {
  readonly id: string;
  readonly name: PartialName;
  readonly file: StagedFile;
  /** Contiguous bytes that were there when it was opened (a resume), 0 for a fresh one. */
  readonly resumedAt: number;
  /** Calls back once when the upload was taken over or lost its place: `error` is what the client shall hear. */
  onLost(callback: (error: LongshoreError) => void): void;
  /**
   * Undefined while this node can commit. Else no more bytes may be acknowledged: some clients take the last acknowledged
   * write for success and ignore a failed close (clients.md, finding 3). Resolves when it can again, rejects with `cut-off`
   * when that takes too long.
   */
  held(): Promise<void> | undefined;
  /** Makes its target name show this upload as the account's partial. A fresh one that replaces is pointed from the start. */
  point(): Promise<void>;
  /** From now on a loss of the connection leaves no partial (random changes to an old file can't be resumed). */
  unpoint(): Promise<void>;
  /**
   * Seals, commits, places. Resolved: acknowledged (P1). Rejected: `outcome-unknown`, or certainly not committed; after a
   * passing fault the engine goes on trying by itself unless the name is written anew.
   */
  commit(change: StatChange): Promise<{ size: number }>;
  /** The connection is gone: the partial is kept for whoever resumes it. Never throws. */
  release(): Promise<void>;
  /** Throws it away. Never throws. */
  discard(): Promise<void>;
}

/** An account's own partial, as far as a resume can count on it. */
export interface PartialState {
  readonly id: string;
  readonly prefix: number;
  readonly mtimeMs: number;
}
