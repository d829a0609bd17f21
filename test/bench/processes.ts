import { readdirSync, readFileSync } from "node:fs";

/**
 * What servers use, read from /proc for whole process trees. sshd doesn't wait for its children, so what they used is lost
 * once they have ended: read it while their sessions are still open.
 */

/** USER_HZ is 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    // The name in brackets may hold anything; the fields behind it are plain.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    // Own time, and that of children that were waited for: those that live count by themselves.
    const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    return { pid, parent: Number(fields[1]), cpuSeconds: ticks / ticksPerSecond };
  } catch {
    return undefined;
  }
}

function trees(roots: readonly number[]): Stat[] {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? []);
  const children = new Map<number, Stat[]>();
  for (const stat of all) children.set(stat.parent, [...(children.get(stat.parent) ?? []), stat]);
  const found = new Map<number, Stat>();
  const visit = (stat: Stat) => {
    if (found.has(stat.pid)) return;
    found.set(stat.pid, stat);
    for (const child of children.get(stat.pid) ?? []) visit(child);
  };
  for (const stat of all) if (roots.includes(stat.pid)) visit(stat);
  return [...found.values()];
}

export function cpuSeconds(roots: readonly number[]): number {
  return trees(roots).reduce((sum, stat) => sum + stat.cpuSeconds, 0);
}

export interface Memory {
  readonly processes: number;
  readonly rssKiB: number;
  /** Shared pages are divided among those that share them: the honest sum for a server of many processes. */
  readonly pssKiB: number;
}

export function memoryOf(roots: readonly number[]): Memory {
  let rssKiB = 0;
  let pssKiB = 0;
  const members = trees(roots);
  for (const { pid } of members) {
    try {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      rssKiB += Number(/^Rss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
      pssKiB += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    } catch {
      // Ended meanwhile.
    }
  }
  return { processes: members.length, rssKiB, pssKiB };
}
