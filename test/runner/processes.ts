import { readdirSync, readFileSync } from "node:fs";

/**
 * Ends what a test file started, and only that. Each file runs in a process group of its own, and its environment
 * carries a mark that whatever it starts inherits, daemons in sessions of their own included.
 */

export const markName = "LONGSHORE_TEST_MARK";

export interface Leftover {
  readonly pid: number;
  readonly command: string;
}

function statOf(pid: number): { group: number; zombie: boolean } | undefined {
  try {
    // The name in brackets may hold anything; the fields behind it are plain.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return { zombie: fields[0] === "Z", group: Number(fields[2]) };
  } catch {
    return undefined;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Gone meanwhile, or another user's: neither is ours.
    return "";
  }
}

/** Live processes of this group or with this mark. Without a /proc (macOS) only the group can be ended. */
export function leftovers(group: number, mark: string): Leftover[] {
  let names: string[];
  try {
    names = readdirSync("/proc");
  } catch {
    return [];
  }
  const found: Leftover[] = [];
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue;
    const pid = Number(name);
    const stat = statOf(pid);
    if (stat === undefined || stat.zombie || pid === process.pid) continue;
    const marked = () => read(`/proc/${pid}/environ`).split("\0").includes(`${markName}=${mark}`);
    if (stat.group === group || marked())
      found.push({ pid, command: read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim().slice(0, 160) });
  }
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Already gone.
  }
}

/** Kills until nothing is left (a process may fork while it is being looked for). Returns what was found at first. */
export function killAll(group: number, mark: string): Leftover[] {
  const first = leftovers(group, mark);
  kill(-group);
  for (let round = 0, found = first; found.length > 0 && round < 20; round += 1, found = leftovers(group, mark))
    for (const { pid } of found) kill(pid);
  return first;
}
