import type { Mode } from "#config/active-schema.js";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { assignActive, holderIn } from "./active-assign.js";
import { type ActiveHolder, nextActive } from "./active-decide.js";
import type { NodeRecord } from "./contract.js";
import { isWell } from "./decide.js";
import type { MembersView } from "./members.js";

/** What the site's settings say of it. */
export interface ActiveRules {
  readonly mode: Mode;
  readonly order: readonly string[];
}

export type SwitchPlan =
  | { readonly switches: true; readonly to: NodeRecord }
  /** It is the active node already. */
  | { readonly switches: false; readonly to: NodeRecord };

/**
 * Which node a planned switch goes to: the one that is named, else the first in the order that isn't active now. Pure.
 * Throws `unsupported` in another mode, `not-found`, `busy` where the node isn't well or there is no other.
 */
export function planSwitch(
  rules: ActiveRules,
  held: Pick<ActiveHolder, "id"> | undefined,
  members: readonly NodeRecord[],
  wanted: string | undefined,
): SwitchPlan {
  if (rules.mode !== "active-passive") {
    throw new LongshoreError("unsupported", "every node of this site serves: its mode is active-active");
  }
  if (wanted === undefined) {
    const next = nextActive(members, rules.order, held?.id);
    const to = members.find(({ id }) => id === next?.id);
    if (to === undefined) throw new LongshoreError("busy", "no other node is up and well: nobody could take over");
    return { switches: true, to };
  }
  const to = members.find(({ id, name }) => id === wanted || name === wanted);
  if (to === undefined) throw new LongshoreError("not-found", `no node named "${wanted}" is up`);
  if (to.id === held?.id) return { switches: false, to };
  if (!isWell(to.state)) throw unwell(to);
  return { switches: true, to };
}

function unwell({ name, state, reasons }: NodeRecord): LongshoreError {
  const why = reasons.length === 0 ? "" : ` (${reasons.join("; ")})`;
  return new LongshoreError("busy", `${name} is ${state}${why}: it can't take over now`);
}

export interface ActiveSwitch {
  /** As the store says now. Throws `StoreUnavailableError`. */
  holder(): Promise<ActiveHolder | undefined>;
  /**
   * Makes another node the active one, at once and without a moment without one; the former one's transfers go on there.
   * Throws as `planSwitch`; `busy` where somebody else changed it in between; `StoreUnavailableError`,
   * `OutcomeUnknownError` (ask `holder` to see).
   */
  switch(
    rules: ActiveRules,
    wanted: string | undefined,
    dryRun: boolean,
  ): Promise<SwitchPlan & { readonly from: ActiveHolder | undefined }>;
}

export function createActiveSwitch(options: {
  readonly coordination: Coordination;
  readonly members: Pick<MembersView, "list">;
}): ActiveSwitch {
  const { coordination, members } = options;
  const holder = async () => holderIn(await coordination.get(keys.active));
  return {
    holder,
    async switch(rules, wanted, dryRun) {
      const from = await holder();
      const plan = planSwitch(rules, from, members.list(), wanted);
      if (dryRun || !plan.switches) return { ...plan, from };
      const outcome = await assignActive(coordination, { held: from, to: plan.to.id, how: "switch" });
      if (outcome.is === "done") return { ...plan, from };
      if (outcome.is === "unwell") {
        if (outcome.node !== undefined) throw unwell(outcome.node);
        throw new LongshoreError("busy", `${plan.to.name} has just gone: it can't take over now`);
      }
      throw new LongshoreError("busy", "the active node has just changed: look, and try again");
    },
  };
}
