import { until } from "#lib/testing.js";
import { readiness } from "./clients/node-process.js";
import type { Partner } from "./clients/partner.js";
import type { Site } from "./site.js";

/** What tests of the mode active-passive ask of a site. */

export interface ActiveNow {
  readonly mode: string;
  readonly active: { readonly name: string; readonly how: string; readonly generation: number } | null;
  readonly nodes: readonly {
    readonly name: string;
    readonly state: string;
    readonly active: boolean;
    readonly sessions: number;
    readonly transfers: number;
  }[];
}

/** `GET /api/v1/cluster/active`; of a node where the site's address may lead to one that stands still. */
export async function activeNow(site: Site, node?: number): Promise<ActiveNow> {
  return (await site.admin("/api/v1/cluster/active", node === undefined ? {} : { node })) as ActiveNow;
}

export function indexOf(site: Site, name: string): number {
  const index = site.endpoints().nodes.findIndex((node) => node.name === name);
  if (index < 0) throw new Error(`no node ${name}`);
  return index;
}

/** The index of the active node, once there is one and it says that it is ready. */
export async function activeNode(site: Site, ask?: number, not?: number): Promise<number> {
  return await until(
    `a node${not === undefined ? "" : ` other than ${site.node(not).name}`} is the active one`,
    async () => {
      const { active } = await activeNow(site, ask);
      if (active === null) return undefined;
      const index = indexOf(site, active.name);
      if (index === not) return undefined;
      return (await stateOf(site, index)) === "ready" ? { index } : undefined;
    },
    { deadlineMs: 30_000, everyMs: 50 },
  ).then(({ index }) => index);
}

export async function stateOf(site: Site, index: number): Promise<string | undefined> {
  return (await readiness(site.node(index).adminUrl)).state;
}

/** Changes the site's mode (and what belongs to it) and resolves when that is in force everywhere. */
export async function setMode(site: Site, change: Readonly<Record<string, unknown>>): Promise<void> {
  const now = (await site.admin("/api/v1/site")) as { revision: number };
  const headers = { "if-match": `"${now.revision}"` };
  const { revision } = (await site.admin("/api/v1/site", {
    method: "PUT",
    headers,
    body: { ...now, ...change },
  })) as { revision: number };
  await site.converged(revision);
}

/** Whether this node, asked directly, lets a partner log in. */
export async function takes(partner: Partner, index: number): Promise<boolean> {
  try {
    const session = await partner.rawOn(index);
    await session.end();
    return true;
  } catch {
    return false;
  }
}

/** HAProxy's word on each node's first server: `UP`, `DOWN`, `DRAIN`. */
export async function balancerStates(site: Site): Promise<Map<string, string>> {
  const lines = (await site.haproxy("show stat")).split("\n");
  const columns = (lines[0] ?? "").replace(/^# /, "").split(",");
  const rows = lines.slice(1).map((line) => Object.fromEntries(line.split(",").map((cell, at) => [columns[at], cell])));
  const names = new Set(site.endpoints().nodes.map(({ name }) => name));
  return new Map(
    rows
      .filter((row) => row.pxname === "sftp" && names.has(row.svname ?? ""))
      .map((row) => [row.svname ?? "", row.status ?? ""]),
  );
}
