import { randomUUID } from "node:crypto";
import type { Compare, Coordination, Operation, TransactionResult } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { CONFIG_HEAD } from "./snapshot.js";

/** What a writer demands of the entry that it changes: not there yet, or unchanged since this revision. */
export type Expectation = "absent" | number;

export function expectationOf(key: string, expected: Expectation): Compare {
  return expected === "absent" ? { key, is: "absent" } : { key, is: "modified-at", revision: expected };
}

/**
 * The one way to change configuration: compare and set, moving the head with it. Throws `OutcomeUnknownError` only where
 * reading the head doesn't settle it: somebody else wrote meanwhile, or the write may still be on its way.
 */
export async function writeConfig(
  coordination: Coordination,
  compare: readonly Compare[],
  apply: readonly Operation[],
): Promise<TransactionResult> {
  const id = randomUUID();
  try {
    // A whole-site change that is half in force would overwrite this one.
    const demands = [...compare, { key: keys.configApplying, is: "absent" } as const];
    const result = await coordination.transact({
      compare: demands,
      apply: [...apply, { put: CONFIG_HEAD, value: id }],
    });
    if (!result.applied && (result.found[compare.length]?.length ?? 0) > 0) throw applyingError();
    return result;
  } catch (error) {
    if (!(error instanceof OutcomeUnknownError)) throw error;
    const head = await coordination.get(CONFIG_HEAD);
    if (head?.value === id) return { applied: true, revision: head.modRevision };
    throw error;
  }
}

export function applyingError(): LongshoreError {
  return new LongshoreError("busy", "a change of the whole site is being put in force: try again in a moment");
}
