import { z } from "zod";
import { EXIT, type ExitCode } from "../errors.js";
import { DEFAULT_NODES, MAX_NODES } from "../up/options.js";
import { MODES, type SiteFile } from "../up/site-file.js";

/** `promote` and `demote` are one thing: the site goes to the other mode, and its store to the other kind of store. */
export type Mode = (typeof MODES)[number];

/** `DIR/move.json`, there from the first step to the last but one: what is under way, whoever goes on with it. */
export const journalSchema = z.strictObject({
  version: z.literal(1),
  to: z.enum(MODES),
  nodes: z.int().min(1).max(MAX_NODES),
  /** Whether the site ran and so is started again. */
  start: z.boolean(),
});
export type Journal = z.infer<typeof journalSchema>;

/** In this order; each may be done again, and the command that is given again begins where the last one ended. */
export const STEPS = ["note", "stop", "copy", "switch", "retire", "forget", "start"] as const;
export type Step = (typeof STEPS)[number];

export interface MoveSituation {
  readonly to: Mode;
  /** As asked for; absent: DEFAULT_NODES. */
  readonly nodes?: number;
  /** Undefined where the directory holds no site. */
  readonly file: SiteFile | undefined;
  /** Of a move that didn't end. */
  readonly journal: Journal | undefined;
  readonly running: boolean;
  /** Whether the directory of each kind of store is there. */
  readonly stores: Readonly<Record<Mode, boolean>>;
}

export type MovePlan =
  | { readonly kind: "refused"; readonly exitCode: ExitCode; readonly why: string }
  /** The site is in that mode already, and nothing is left to do. */
  | { readonly kind: "done" }
  | { readonly kind: "go"; readonly journal: Journal; readonly steps: readonly Step[]; readonly after: SiteFile };

/**
 * What is to be done, from what is there. Pure. The invariant that makes each step repeatable: the store that counts is
 * always the one of the mode that `site.json` names, and only `switch` changes that. Until then the source is whole and
 * in force, and the target is thrown away and made anew; from then on the target is, and the source is only put aside.
 */
export function planMove(situation: MoveSituation): MovePlan {
  const { to, file, journal, running, stores } = situation;
  const refused = (exitCode: ExitCode, why: string): MovePlan => ({ kind: "refused", exitCode, why });
  const command = commandTo(to);
  if (file === undefined)
    return refused(
      EXIT.notFound,
      "there is no site of `longshore up` here: name its directory with --dir, or its two stores with --settings and --embedded",
    );
  if (journal !== undefined && journal.to !== to) {
    return refused(EXIT.conflict, `a ${commandTo(journal.to)} isn't finished here: give that command again first`);
  }
  if (situation.nodes !== undefined && to === "standalone" && situation.nodes !== 1) {
    return refused(EXIT.usage, "a standalone site has one node");
  }
  const nodes = to === "standalone" ? 1 : (situation.nodes ?? journal?.nodes ?? DEFAULT_NODES);
  const after: SiteFile = { ...file, mode: to, nodes };
  if (file.mode === to) {
    if (journal === undefined) return { kind: "done" };
    return { kind: "go", journal, steps: ["retire", "forget", ...start(journal)], after: file };
  }
  if (!stores[file.mode])
    return refused(EXIT.failed, `the ${file.mode} site's store isn't there: was it ever started?`);
  if (stores[to] && journal === undefined) {
    return refused(EXIT.conflict, `a store of another ${to} site lies here: move it away before you ${command}`);
  }
  const noted: Journal = { version: 1, to, nodes, start: running || (journal?.start ?? false) };
  return {
    kind: "go",
    journal: noted,
    steps: ["note", "stop", "copy", "switch", "retire", "forget", ...start(noted)],
    after,
  };
}

function start(journal: Journal): Step[] {
  return journal.start ? ["start"] : [];
}

export function commandTo(mode: Mode): "promote" | "demote" {
  return mode === "cluster" ? "promote" : "demote";
}

/** A step in words, and what is where if the process dies in it. */
export function describeStep(step: Step, to: Mode): { readonly does: string; readonly ifItDies: string } {
  const again = `give \`longshore ${commandTo(to)}\` again`;
  const before = `nothing has changed for the site; ${again}, or go on as before with \`longshore up\``;
  const after = `the site is ${to === "cluster" ? "promoted" : "demoted"}; ${again} to tidy up, or \`longshore up\``;
  const other = to === "cluster" ? "etcd" : "the embedded store";
  const words: Record<Step, readonly [string, string]> = {
    note: ["note what is under way (move.json)", before],
    stop: ["stop the site; transfers get 10 s to end", before],
    copy: [`copy all entries to ${other}, and compare every one`, `the copy is thrown away; ${before}`],
    switch: [`from here on the site is ${to} (site.json, one rename)`, `it is done or it isn't; ${again}`],
    retire: ["put the former store aside", after],
    forget: ["forget the note", after],
    start: ["start the site", `${after}`],
  };
  const [does, ifItDies] = words[step];
  return { does, ifItDies };
}
