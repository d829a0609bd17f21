import { LongshoreError } from "#lib/errors.js";
import type { ListOptions, Transaction } from "./contract.js";

/**
 * What both backends refuse before anything is sent, in the same words: so that code which runs on the embedded store
 * also runs on etcd. The rules are etcd's (checkTxnRequest in its v3rpc/key.go).
 */

/** Bytes of keys and values in one transaction: etcd refuses requests past 1.5 MiB (--max-request-bytes), framing included. */
export const MAX_TRANSACTION_BYTES = 1_400_000;

/** Rough bytes of protobuf framing per compare or operation (a compare is sent twice: as compare and as read). */
const FRAMING_BYTES = 48;

/** A lone surrogate has no UTF-8 form: encoding would replace it, and two keys could become one. */
const LONE_SURROGATE = /\p{Surrogate}/u;

export function assertKey(key: string): void {
  if (key.length === 0) throw new LongshoreError("invalid-argument", "a store key can't be empty");
  assertPrefix(key);
}

export function assertPrefix(prefix: string): void {
  if (LONE_SURROGATE.test(prefix)) {
    throw new LongshoreError("invalid-argument", "a store key must be well-formed Unicode");
  }
}

export function assertListing({ limit, changedSince }: ListOptions): void {
  // etcd reads 0 as "all", the opposite of what a caller that computed it meant.
  if (limit !== undefined && !(Number.isInteger(limit) && limit > 0)) {
    throw new LongshoreError("invalid-argument", `a list's limit is a whole number from 1, not ${limit}`);
  }
  if (changedSince === undefined) return;
  if (limit !== undefined || !(Number.isSafeInteger(changedSince) && changedSince >= 0)) {
    throw new LongshoreError("invalid-argument", "changedSince is a revision, and goes without a limit");
  }
}

/** Throws `LongshoreError`: `limit` (too many operations, too many bytes) or `invalid-argument` (a caller's mistake). */
export function assertTransaction(transaction: Transaction, maxOperations: number): void {
  const { compare, apply } = transaction;
  if (compare.length > maxOperations || apply.length > maxOperations) {
    throw new LongshoreError(
      "limit",
      `a transaction holds at most ${maxOperations} compares and as many operations, not ${compare.length} and ${apply.length}`,
    );
  }
  let bytes = 0;
  for (const one of compare) {
    if ("prefix" in one) {
      assertPrefix(one.prefix);
      bytes += 2 * Buffer.byteLength(one.prefix) + 2 * FRAMING_BYTES;
      continue;
    }
    assertKey(one.key);
    if (one.is !== "absent" && !(one.revision > 0)) {
      // Revision 0 would mean "absent" to etcd, so a caller's uninitialised field would turn a fence around.
      throw new LongshoreError("invalid-argument", `a compare with revision ${one.revision} is meaningless`);
    }
    bytes += 2 * Buffer.byteLength(one.key) + 2 * FRAMING_BYTES;
  }
  const puts = new Set<string>();
  for (const one of apply) {
    bytes += FRAMING_BYTES;
    if ("put" in one) {
      assertKey(one.put);
      if (puts.has(one.put)) throw duplicate(one.put);
      puts.add(one.put);
      bytes += Buffer.byteLength(one.put) + Buffer.byteLength(one.value);
    } else if ("delete" in one) {
      assertKey(one.delete);
      bytes += Buffer.byteLength(one.delete);
    } else {
      assertPrefix(one.deletePrefix);
      bytes += 2 * Buffer.byteLength(one.deletePrefix);
    }
  }
  for (const one of apply) {
    if ("delete" in one && puts.has(one.delete)) throw duplicate(one.delete);
    if (!("deletePrefix" in one)) continue;
    for (const key of puts) if (key.startsWith(one.deletePrefix)) throw duplicate(key);
  }
  if (bytes > MAX_TRANSACTION_BYTES) {
    throw new LongshoreError("limit", `a transaction carries at most ${MAX_TRANSACTION_BYTES} bytes, not ${bytes}`);
  }
}

function duplicate(key: string): LongshoreError {
  return new LongshoreError("invalid-argument", `one transaction can't change the key ${key} twice`);
}
