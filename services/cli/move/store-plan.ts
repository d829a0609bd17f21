import type { Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { EXIT, type ExitCode } from "../errors.js";
import type { Mode } from "./plan.js";

export interface StoreSituation {
  readonly to: Mode;
  /** Everything in the store that counts now; undefined: there is no such store. */
  readonly source: readonly Entry[] | undefined;
  /** Everything in the one to come; undefined: it isn't there yet. */
  readonly target: readonly Entry[] | undefined;
  /** Whether what is in the target may go. */
  readonly replace: boolean;
}

export type StorePlan =
  | { readonly kind: "refused"; readonly exitCode: ExitCode; readonly why: string }
  | { readonly kind: "go"; readonly entries: number };

/**
 * Whether the store of a site may be moved, from what is in the two. Pure. Invariant: nothing runs on either of them, and
 * nothing is lost that somebody didn't say may go.
 */
export function planStoreMove({ to, source, target, replace }: StoreSituation): StorePlan {
  const refused = (exitCode: ExitCode, why: string): StorePlan => ({ kind: "refused", exitCode, why });
  const [from, into] = to === "cluster" ? ["the embedded store", "etcd"] : ["etcd", "the embedded store"];
  const running = [...livingNodes(source ?? []), ...livingNodes(target ?? [])];
  if (running.length > 0) {
    return refused(EXIT.conflict, `nodes still run on etcd: ${running.join(", ")}. Stop them, and wait 10 s`);
  }
  if (source === undefined || !source.some(({ key }) => key === keys.site)) {
    return refused(EXIT.notFound, `there is no site in ${from}: name the right one, and stop nothing for it`);
  }
  if (!replace && target?.some(isLasting) === true) {
    return refused(EXIT.conflict, `${into} holds a site already: --replace lets what is there go`);
  }
  return { kind: "go", entries: source.filter(isLasting).length };
}

function livingNodes(entries: readonly Entry[]): string[] {
  return entries
    .filter(({ key, lease }) => key.startsWith(keys.nodePrefix) && lease !== undefined)
    .map(({ value }) => {
      try {
        return String((JSON.parse(value) as { name?: unknown }).name);
      } catch {
        return "one that can't be read";
      }
    });
}

/** What hangs on a lease belongs to a process, and goes with it. */
function isLasting({ lease }: Entry): boolean {
  return lease === undefined;
}
