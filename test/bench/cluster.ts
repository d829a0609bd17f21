import { readFileSync } from "node:fs";
import type { Coordination } from "#coordination/contract.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { keys } from "#coordination/keys.js";
import { changeSite, ExtraNode } from "../support/clients/node-process.js";
import { type Site, startSite } from "../support/site.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import type { Bench, Figure } from "./contract.js";
import { AT_ONCE, uploadsInLoginStorm } from "./login-storm.js";
import { memoryOf } from "./processes.js";
import { timePasswordLogins } from "./ssh-logins.js";
import { quantile } from "./table.js";

/**
 * What a site's configuration costs: how long a change takes until it is in force everywhere, how long a node needs to start
 * with many accounts, how fast one that was cut off catches up, and logins by password. One etcd member, on loopback.
 */

const TARGET = "3 nodes";
const ACCOUNTS = [10_000, 100_000] as const;
const CHANGES = 200;
const BANS = 50;
const PARTITION_MS = 10_000;
/** Etcd takes 1,024 operations and 1.5 MiB a transaction. */
const BATCH = 500;
/** Of the right size; nobody logs in with them. */
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEo6YcGBhqzfKlPv2uQvvzGz1W8y4p6G0k3o1o0m8m3Q partner@example.com";

export const cluster: Bench = async ({ runs, logins, figures: wanted, directory, say }) => {
  const figures: Figure[] = [];
  const asked = (name: string) => wanted.length === 0 || wanted.some((part) => name.includes(part));
  const add = (name: string, unit: string, value: number) => {
    const known = figures.find((figure) => figure.name === name);
    if (known !== undefined) known.values.get(TARGET)?.push(value);
    else figures.push({ name, unit, values: new Map([[TARGET, [value]]]) });
  };
  say("starting a site of three nodes");
  const site = await startSite({ nodes: 3, dir: directory, restart: false });
  const store = storeOf(site);
  try {
    const { password = "", name = "" } = site.endpoints().accounts[0] ?? {};
    let there = 0;
    for (const total of ACCOUNTS) {
      // only starts are measured with the many
      if (total !== ACCOUNTS[0] && !asked("start")) continue;
      say(`making ${total} accounts`);
      await makeAccounts(store, there, total);
      there = total;
      await settled(site);
      const with_ = `with ${total.toLocaleString("en")} accounts`;
      if (asked("start")) {
        for (let run = 0; run < Math.min(runs, 3); run++) {
          say(`starting a node ${with_}`);
          const begun = performance.now();
          const node = await ExtraNode.start(site);
          add(`start of a node ${with_}`, "s", (performance.now() - begun) / 1000);
          add(`its memory ${with_} (PSS)`, "MiB", memoryOf([node.process.pid]).pssKiB / 1024);
          await node.kill();
          await gone(site, node.name);
        }
      }
      if (total === ACCOUNTS[0] && asked("propagation")) {
        say(`changing accounts ${with_}`);
        const times = await propagation(site);
        add(`a change is in force on all nodes ${with_}: p50`, "ms", quantile(times, 0.5));
        add(`the same: p99 ${with_}`, "ms", quantile(times, 0.99));
        add(`the same: most ${with_}`, "ms", quantile(times, 1));
      }
      if (total === ACCOUNTS[0] && asked("partition")) {
        for (let run = 0; run < Math.min(runs, 3); run++) {
          say(`cutting a node off for ${PARTITION_MS / 1000} s`);
          add(`a node that was cut off for 10 s has 100 changes and is ready, ${with_}`, "ms", await partition(site));
        }
      }
    }
    if (asked("bans")) {
      say("banning addresses");
      const times = await banPropagation(site);
      add("a ban is in force on all nodes: p50", "ms", quantile(times, 0.5));
      add("the same: p99", "ms", quantile(times, 0.99));
    }
    if (asked("takeover")) {
      for (let run = 0; run < runs; run++) {
        say("killing the coordinator");
        add("coordinator: from kill -9 to the next one", "s", (await takeover(site)) / 1000);
      }
    }
    if (asked("logins")) {
      const { host, port } = site.endpoints().sftp;
      const account = { host, port, username: name, password: password ?? "" };
      for (const [cached, what] of [
        [0, "each checked with argon2id"],
        [60, "checked a moment ago"],
      ] as const) {
        await changeSite(site, (settings) => {
          settings.security = { ...(settings.security as object), passwordCacheSeconds: cached };
        });
        for (let run = 0; run < runs; run++) {
          say(`logins by password, ${what}`);
          const made = await timePasswordLogins(account, logins, 8);
          add(`logins by password, 8 at once, ${what}`, "logins/s", logins / made.seconds);
        }
      }
    }
    if (asked("storm")) {
      say("small uploads during a login storm");
      const { quiet, storm } = await uploadsInLoginStorm(site, logins);
      add("an upload of 4 KiB while nobody logs in: p50", "ms", quantile(quiet, 0.5));
      add("an upload of 4 KiB while nobody logs in: p99", "ms", quantile(quiet, 0.99));
      add(`an upload of 4 KiB in a storm of logins, ${AT_ONCE} at once: p50`, "ms", quantile(storm, 0.5));
      add(`the same in a storm of logins, ${AT_ONCE} at once: p99`, "ms", quantile(storm, 0.99));
    }
  } finally {
    await store.close();
    await site.stop();
  }
  return {
    title: "A site's configuration",
    notes: [
      "three nodes and one etcd member behind HAProxy; medians over the rounds",
      "a change: from the reply of the admin API to its being in force on the last node, asked each 2 ms",
    ],
    targets: [TARGET],
    figures,
  };
};

function storeOf(site: Site): Coordination {
  const { site: name, coordination } = JSON.parse(readFileSync(site.node(0).settingsFile, "utf8")) as {
    site: string;
    coordination: { endpoints: string[] };
  };
  return createEtcdCoordination({ endpoints: coordination.endpoints, site: name });
}

/** Straight into the store, in the form that the admin API writes: one by one they would take an hour. */
async function makeAccounts(store: Coordination, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += BATCH) {
    const apply = Array.from({ length: Math.min(BATCH, to - at) }, (_, i) => {
      const name = `bench-${at + i}`;
      return { put: keys.account(name), value: JSON.stringify({ name, publicKeys: [KEY], description: "bench" }) };
    });
    const head = { put: keys.configHead, value: `bench-${at}` };
    const result = await store.transact({ compare: [], apply: [...apply, head] }, { deadlineMs: 20_000 });
    if (!result.applied) throw new Error("accounts weren't written");
  }
}

/** Resolves with how long it took until every node had `revision`, in ms. */
async function everywhere(site: Site, revision: number, nodes: readonly string[]): Promise<void> {
  const token = readFileSync(site.endpoints().admin.tokenFile, "utf8").trim();
  await Promise.all(
    nodes.map(async (url) => {
      for (;;) {
        const answer = await fetch(`${url}/api/v1/status`, {
          headers: { authorization: `Bearer ${token}` },
          signal: AbortSignal.timeout(30_000),
        });
        const { config } = (await answer.json()) as { config: { revision: number } };
        if (config.revision >= revision) return;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }),
  );
}

async function change(site: Site, index: number, node: number): Promise<number> {
  const body = { publicKeys: [KEY], description: `changed ${performance.now()}` };
  const made = await site.admin(`/api/v1/accounts/bench-${index}`, { method: "PUT", body, node });
  return (made as { revision: number }).revision;
}

async function settled(site: Site): Promise<void> {
  const nodes = site.endpoints().nodes.map(({ adminUrl }) => adminUrl);
  await everywhere(site, await change(site, 0, 0), nodes);
}

async function propagation(site: Site): Promise<number[]> {
  const nodes = site.endpoints().nodes.map(({ adminUrl }) => adminUrl);
  const times: number[] = [];
  for (let i = 0; i < CHANGES; i++) {
    const revision = await change(site, i, i % nodes.length);
    const begun = performance.now();
    await everywhere(site, revision, nodes);
    times.push(performance.now() - begun);
  }
  return times;
}

/** From the reply to the ban until the last node lists it, in ms. */
async function banPropagation(site: Site): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < BANS; i++) {
    const address = `203.0.113.${i + 1}`;
    await site.admin("/api/v1/bans", { method: "POST", body: { address, seconds: 600 }, node: i % 3 });
    const begun = performance.now();
    await Promise.all(
      [0, 1, 2].map(async (node) => {
        for (;;) {
          const { bans } = (await site.admin("/api/v1/bans", { node })) as { bans: { address: string }[] };
          if (bans.some((ban) => ban.address === address)) return;
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      }),
    );
    times.push(performance.now() - begun);
  }
  return times;
}

/** In ms; the killed node is started again afterwards. */
async function takeover(site: Site): Promise<number> {
  type Status = { coordinator: { name: string; generation: number } | null };
  const names = site.endpoints().nodes.map(({ name }) => name);
  let before: Status["coordinator"] = null;
  while (before === null) before = ((await site.admin("/api/v1/status")) as Status).coordinator;
  const index = names.indexOf(before.name);
  const other = (index + 1) % names.length;
  site.killNode(index);
  const begun = performance.now();
  for (;;) {
    const { coordinator } = (await site.admin("/api/v1/status", { node: other })) as Status;
    if (coordinator !== null && coordinator.generation > before.generation) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const ms = performance.now() - begun;
  await site.startNode(index);
  return ms;
}

/** From the end of the partition until the node has what was changed in it and is ready, in ms. */
async function partition(site: Site): Promise<number> {
  const settings = JSON.parse(readFileSync(site.node(0).settingsFile, "utf8")) as {
    coordination: { kind: string; endpoints: string[] };
  };
  const proxy = await TcpProxy.start(settings.coordination.endpoints[0] ?? "");
  const coordination = { ...settings.coordination, endpoints: [proxy.address] };
  const node = await ExtraNode.start(site, { settings: { coordination } });
  try {
    proxy.stall();
    const until = performance.now() + PARTITION_MS;
    let revision = 0;
    for (let i = 0; i < 100; i++) revision = await change(site, i, i % 3);
    // A partition lasts as long as it lasts: here time is what is measured.
    await new Promise((resolve) => setTimeout(resolve, until - performance.now()));
    const begun = performance.now();
    proxy.resume();
    await everywhere(site, revision, [node.adminUrl]);
    while (!(await node.isReady())) await new Promise((resolve) => setTimeout(resolve, 5));
    return performance.now() - begun;
  } finally {
    await node.kill();
    await proxy.close();
    await gone(site, node.name);
  }
}

/** Its lease has run out: the next node's start isn't measured beside it. */
async function gone(site: Site, name: string): Promise<void> {
  for (;;) {
    const { nodes } = (await site.admin("/api/v1/status")) as { nodes: { name: string }[] };
    if (!nodes.some((node) => node.name === name)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
