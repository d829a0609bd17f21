import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "#lib/testing.js";
import { freePorts } from "../ports.js";
import { type Started, start } from "../processes.js";
import type { Site } from "../site.js";

const NODE = fileURLToPath(new URL("../../../services/node/main.js", import.meta.url));

/** Bytes of memory that a process and all its descendants hold (VmRSS). */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const own = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children.split(" ").reduce((sum, child) => sum + (child === "" ? 0 : residentBytes(Number(child))), own);
}

/** The highest that `residentBytes` got while `action` ran, in bytes above what it was before. */
export async function memoryGrowth(pid: number, action: () => Promise<void>): Promise<number> {
  const before = residentBytes(pid);
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, residentBytes(pid));
  }, 50);
  try {
    await action();
  } finally {
    clearInterval(timer);
  }
  return Math.max(most, residentBytes(pid)) - before;
}

export interface ExtraNodeOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Over those of the site's first node. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

let extraNodes = 0;

/**
 * One more node of a running site, which the balancer doesn't know: started by hand, with an environment and settings of
 * its own, and never started again.
 */
export class ExtraNode {
  private constructor(
    readonly name: string,
    readonly sftpPort: number,
    readonly adminUrl: string,
    readonly process: Started,
  ) {}

  static async start(site: Site, options: ExtraNodeOptions = {}): Promise<ExtraNode> {
    const number = 100 + extraNodes++;
    const name = `extra-${number}`;
    const [sftp = 0, admin = 0, agent = 0] = await freePorts(3);
    const directory = join(site.directory, "nodes", name);
    mkdirSync(directory, { recursive: true });
    const model = JSON.parse(readFileSync(site.node(0).settingsFile, "utf8")) as Record<string, unknown>;
    const at = (port: number) => ({ host: "127.0.0.1", port });
    const settings = {
      ...model,
      name,
      slot: number,
      dataDirectory: join(directory, "data"),
      sftp: at(sftp),
      admin: at(admin),
      agent: at(agent),
      ...options.settings,
    };
    const file = join(directory, "settings.json");
    writeFileSync(file, JSON.stringify(settings));
    const process_ = start(process.execPath, [NODE, "--config", file], {
      name,
      env: { ...process.env, ...options.env },
    });
    const node = new ExtraNode(name, sftp, `http://127.0.0.1:${admin}`, process_);
    await until(`${name} is ready`, () => node.isReady(), { deadlineMs: 30_000 });
    return node;
  }

  async isReady(): Promise<boolean> {
    if (!this.process.alive) throw new Error(`${this.name} ended:\n${this.process.output}`);
    return (await fetch(`${this.adminUrl}/health/ready`, { signal: AbortSignal.timeout(2_000) })).ok;
  }

  kill(): Promise<void> {
    return this.process.kill();
  }
}

/** What a node says of itself, whatever the status code. */
export async function readiness(adminUrl: string): Promise<{ ok: boolean; state: string; reasons: string[] }> {
  const response = await fetch(`${adminUrl}/health/ready`, { signal: AbortSignal.timeout(5_000) });
  const body = (await response.json()) as { state: string; reasons: string[] };
  return { ok: response.ok, state: body.state, reasons: body.reasons };
}

/** Changes the site's settings, by compare-and-swap, and waits until they are in force everywhere. */
export async function changeSite(site: Site, change: (settings: Record<string, unknown>) => void): Promise<void> {
  const read = await site.adminFetch("/api/v1/site");
  const settings = (await read.json()) as Record<string, unknown>;
  change(settings);
  const written = (await site.admin("/api/v1/site", {
    method: "PUT",
    body: settings,
    headers: { "if-match": read.headers.get("etag") ?? "" },
  })) as { revision: number };
  await site.converged(written.revision);
}
