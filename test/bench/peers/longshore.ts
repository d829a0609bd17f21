import { mkdirSync } from "node:fs";
import { type SiteOptions, startSite } from "../../support/site.js";
import type { Target } from "../contract.js";

/** Ours, started as a user starts it: one node by itself, or a site of three behind HAProxy. */

async function startTarget(name: string, directory: string, options: SiteOptions): Promise<Target> {
  mkdirSync(directory, { recursive: true });
  const site = await startSite({ ...options, dir: directory });
  const { sftp, accounts } = site.endpoints();
  const [account] = accounts;
  if (account === undefined) throw new Error("longshore up made no account");
  const present = (pids: readonly (number | null | undefined)[]) => pids.filter((pid) => typeof pid === "number");
  const helpers = () => {
    const { haproxy, etcd } = site.endpoints();
    return present([haproxy?.pid, etcd?.pid]);
  };
  return {
    name,
    host: sftp.host,
    port: sftp.port,
    user: account.name,
    keyFile: account.privateKeyFile,
    root: "",
    processes: () => [...present(site.endpoints().nodes.map(({ pid }) => pid)), ...helpers()],
    helpers,
    stop: () => site.stop(),
  };
}

export function startStandalone(directory: string): Promise<Target> {
  return startTarget("Longshore, one node", directory, { standalone: true });
}

export function startCluster(directory: string): Promise<Target> {
  return startTarget("Longshore, 3 nodes behind HAProxy", directory, { nodes: 3 });
}
