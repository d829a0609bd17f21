import { batches } from "#backup/plan.js";
import type { Coordination, Entry, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { CliError, EXIT } from "../errors.js";

const LIST_MS = 60_000;
const WRITE_MS = 30_000;
const MOST = { operations: 500, bytes: 1_000_000 };
/** Entries whose order among each other says something: oldest first, a revision each. */
const ORDERED = ["config-history/"];

/**
 * Makes the target hold what the source holds, and nothing else: configuration, security state, history, records of
 * operations that wait for their recovery. What hangs on a lease is a dead process's and stays behind. Both stores must
 * be nobody else's meanwhile. Returns how many entries there are. Throws where a comparison at the end finds a difference.
 */
export async function copyStore(source: Coordination, target: Coordination): Promise<number> {
  const entries = await lasting(source);
  await target.transact({ compare: [], apply: [{ deletePrefix: "" }] }, { deadlineMs: WRITE_MS });
  const put = (entry: Entry): Operation => ({ put: entry.key, value: entry.value });
  const isOrdered = ({ key }: Entry) => ORDERED.some((prefix) => key.startsWith(prefix));
  const isHead = ({ key }: Entry) => key === keys.configHead;
  const groups = [
    ...batches(entries.filter((entry) => !isOrdered(entry) && !isHead(entry)).map(put), MOST),
    ...entries.filter(isOrdered).map((entry) => [put(entry)]),
    // Last, as its revision is the configuration's.
    ...entries.filter(isHead).map((entry) => [put(entry)]),
  ];
  for (const apply of groups) await target.transact({ compare: [], apply }, { deadlineMs: WRITE_MS });
  compare(entries, await lasting(target));
  return entries.length;
}

/** Oldest change first. */
async function lasting(store: Coordination): Promise<Entry[]> {
  const { entries } = await store.list("", { deadlineMs: LIST_MS });
  return entries.filter(({ lease }) => lease === undefined).sort((a, b) => a.modRevision - b.modRevision);
}

function compare(wanted: readonly Entry[], found: readonly Entry[]): void {
  const values = new Map(found.map(({ key, value }) => [key, value]));
  const wrong = wanted.find(({ key, value }) => values.get(key) !== value);
  if (wrong === undefined && wanted.length === found.length) return;
  throw new CliError(
    EXIT.failed,
    `the copy isn't the same (${found.length} entries of ${wanted.length}${wrong ? `, ${wrong.key} differs` : ""}): nothing was changed`,
  );
}
