import type { Finding, TrialFacts, TrialPair } from "./facts.js";

const check = "storage trial";
const SAME_VOLUME = "mount one and the same volume on every node: what one node takes, the others don't have";
const FILE_SYSTEM =
  "the file system must create exclusively and rename in one step for all hosts (NFS 4, CephFS, GlusterFS do): commits go by it";

/** What the nodes' trial of the storage means. Pure. */
export function storageTrial(trial: TrialFacts | undefined): Finding[] {
  if (trial === undefined) return [];
  const findings: Finding[] = trial.problems.map(({ node: subject, problem, refused }) => {
    if (!refused) {
      const mend = "look at the mount on this node, and at its log (runbook: storage-full-or-gone)";
      return { check, subject, result: "fail", seen: problem, mend };
    }
    const mend = "give a token of the role operator; a node of an older version can't try";
    return { check, subject, result: "warn", seen: `it wasn't tried: ${problem}`, mend };
  });
  findings.push(...trial.pairs.flatMap(pairFaults));
  if (trial.winners.length !== 1 && trial.problems.length === 0) {
    const who = trial.winners.join(", ") || "no node";
    const seen = `all created one file at once, and ${who} ${trial.winners.length === 0 ? "was" : "were"} told that it did`;
    const mend = trial.winners.length === 0 ? FILE_SYSTEM : `${FILE_SYSTEM}; or the nodes have volumes of their own`;
    findings.push({ check, subject: "site", result: "fail", seen, mend });
  }
  if (findings.length > 0) return findings;
  const seen =
    trial.nodes.length === 1
      ? "creates exclusively, and renames"
      : `${trial.nodes.length} nodes see each other's files; one alone wins a create; renames are seen at once`;
  return [{ check, subject: "site", result: "ok", seen }];
}

/** The first thing that went wrong explains what follows. */
function pairFaults({ creator, other, created, found, renamed, stillThere, moved }: TrialPair): Finding[] {
  const fail = (seen: string, mend: string): Finding[] => [
    { check, subject: `${creator}, ${other}`, result: "fail", seen, mend },
  ];
  if (found !== creator) return fail(`${other} doesn't see what ${creator} has just created`, SAME_VOLUME);
  if (created !== "exists") return fail(`${other} could create what ${creator} had created`, FILE_SYSTEM);
  if (renamed !== "done") return fail(`${other} can't rename what ${creator} created`, FILE_SYSTEM);
  if (stillThere || !moved) {
    const mend =
      "names are cached for too long: mount with `lookupcache=positive` or `actimeo=0` (NFS), then ask again";
    return fail(`${creator} doesn't see that ${other} has renamed a file`, mend);
  }
  return [];
}
