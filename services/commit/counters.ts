import type { Compare, Coordination, Entry, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import type { LongshoreError } from "#lib/errors.js";
import type { Intent } from "./plan.js";
import { advance, quotaFault, readUsage, type Usage, type UsageChange } from "./usage.js";

interface Known {
  /** Undefined: the counter can't be read. */
  readonly usage: Usage | undefined;
  readonly revision: number;
}

/** What a group adds to its transaction for the counters that it moves. */
export interface CounterPlan<T extends Intent> {
  readonly sent: readonly T[];
  readonly over: readonly { readonly intent: T; readonly error: LongshoreError }[];
  readonly compare: readonly Compare[];
  readonly apply: readonly Operation[];
  /** Keys and new values in the order of `compare`; undefined: the place has no counter, or a damaged one, which stays. */
  readonly next: readonly { readonly key: string; readonly usage: Usage | undefined }[];
}

/**
 * The counters of folders with a quota, as this process last saw them. Each group compares their revisions, so nodes that
 * commit into one folder at the same time take turns, and the limit is judged on the very value that is advanced. A place
 * without a counter has no quota, or wasn't counted yet: then its absence is compared, so that no change slips past a first
 * count. A damaged counter is like none, with its revision compared: no change slips past the count that makes it anew.
 */
export class Counters {
  readonly #coordination: Coordination;
  readonly #known = new Map<string, Known | undefined>();

  constructor(coordination: Coordination) {
    this.#coordination = coordination;
  }

  /** Throws `unavailable` where a refusal can't be made sure of. */
  async plan<T extends Intent>(group: readonly T[]): Promise<CounterPlan<T>> {
    const fresh = new Set<string>();
    for (;;) {
      const plan = judge(group, this.#known);
      // never refused by what was seen a while ago: another node may have removed files since
      const stale = plan.over.flatMap(({ intent }) => keysOf(intent)).filter((key) => !fresh.has(key));
      if (stale.length === 0) return plan;
      for (const key of new Set(stale)) {
        this.#learn(key, await this.#coordination.get(key));
        fresh.add(key);
      }
    }
  }

  applied(plan: CounterPlan<Intent>, revision: number): void {
    for (const { key, usage } of plan.next) if (usage !== undefined) this.#known.set(key, { usage, revision });
  }

  /** `found`: what the plan's compares met. */
  refused(plan: CounterPlan<Intent>, found: readonly (readonly Entry[])[]): void {
    for (const [index, { key }] of plan.next.entries()) this.#learn(key, found[index]?.[0]);
  }

  #learn(key: string, entry: Entry | undefined): void {
    if (this.#known.size > 10_000) this.#known.clear();
    this.#known.set(key, entry && { usage: readUsage(entry), revision: entry.modRevision });
  }
}

function keysOf(intent: Intent): readonly string[] {
  return (intent.usage ?? []).map(({ target }) => keys.usage(intent.store, target));
}

/** In the group's order: who would go past a limit leaves, whoever comes behind and still fits goes. Pure. */
function judge<T extends Intent>(group: readonly T[], known: ReadonlyMap<string, Known | undefined>): CounterPlan<T> {
  const now = new Map<string, Usage | undefined>();
  const sent: T[] = [];
  const over: { intent: T; error: LongshoreError }[] = [];
  for (const intent of group) {
    const changes = (intent.usage ?? []).map((change: UsageChange) => {
      const key = keys.usage(intent.store, change.target);
      return { key, change, usage: now.has(key) ? now.get(key) : known.get(key)?.usage };
    });
    const fault = changes
      .map(({ usage, change }) => usage && quotaFault(usage, change))
      .find((error) => error !== undefined);
    if (fault !== undefined) {
      over.push({ intent, error: fault });
      continue;
    }
    sent.push(intent);
    for (const { key, usage, change } of changes) now.set(key, usage && advance(usage, change));
  }
  const next = [...now].map(([key, usage]) => ({ key, usage }));
  return {
    sent,
    over,
    next,
    compare: next.map(({ key }): Compare => {
      const revision = known.get(key)?.revision;
      return revision === undefined ? { key, is: "absent" } : { key, is: "modified-at", revision };
    }),
    apply: next.flatMap(({ key, usage }): readonly Operation[] =>
      usage === undefined ? [] : [{ put: key, value: JSON.stringify(usage) }],
    ),
  };
}
