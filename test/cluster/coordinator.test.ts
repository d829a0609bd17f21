import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { keys } from "#coordination/keys.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { type Started, start } from "../support/processes.js";
import { connect, keepAwake, newSite } from "./fixture.js";

/** Real etcd, real processes, real signals: one coordinator at a time, and what a former one still sends changes nothing. */

const SCRIPT = fileURLToPath(new URL("coordinator-process.js", import.meta.url));
/** From a death to work by another: promised. */
const TAKEOVER_MS = 6_000;

interface Line {
  readonly name: string;
  readonly event: string;
  readonly generation: number;
  readonly revision?: number;
  readonly applied?: boolean;
}

let etcd: EtcdCluster;
keepAwake();
before(async () => {
  etcd = await startEtcd();
});
after(() => etcd.stop());

type Ends = { after(fn: () => Promise<void> | void): void };

function candidates(t: Ends, names: readonly string[]) {
  const site = newSite();
  const lines: Line[] = [];
  const processes = new Map<string, Started>();
  for (const [index, name] of names.entries()) {
    const started = start(process.execPath, [SCRIPT, etcd.endpoints.join(","), site, name, String(index + 1)], {
      name,
    });
    t.after(() => started.kill());
    assert.ok(started.stdout);
    createInterface({ input: started.stdout }).on("line", (line) => lines.push(JSON.parse(line) as Line));
    processes.set(name, started);
  }
  const worker = async (not?: string): Promise<string> => {
    const from = lines.length;
    let found: Line | undefined;
    await until(
      `somebody but ${not} works`,
      () => {
        found = lines.slice(not === undefined ? 0 : from).find(({ event, name }) => event === "wrote" && name !== not);
        return found !== undefined;
      },
      { deadlineMs: TAKEOVER_MS },
    );
    return found?.name ?? "";
  };
  /** Writes in the order in which the store applied them: no generation comes back. */
  const inOrder = () => {
    const wrote = lines.filter(({ event }) => event === "wrote");
    assert.ok(wrote.every(({ applied }) => applied === true));
    const generations = wrote.sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0)).map(({ generation }) => generation);
    assert.deepEqual(
      generations,
      [...generations].sort((a, b) => a - b),
    );
    return new Set(generations).size;
  };
  const process_ = (name: string) => processes.get(name) as Started;
  return { site, lines, worker, inOrder, process: process_ };
}

test("kill -9 of the coordinator: another one works within 6 s, under a larger generation", async (t) => {
  const { worker, inOrder, process } = candidates(t, ["alpha", "beta", "gamma"]);
  const first = await worker();
  const killedAt = performance.now();
  await process(first).kill();
  await worker(first);
  t.diagnostic(`taken over after ${Math.round(performance.now() - killedAt)} ms`);
  assert.equal(inOrder(), 2);
});

test("stopped past its lease and woken up, a former coordinator changes nothing and knows that it is over", async (t) => {
  const { worker, inOrder, process, lines } = candidates(t, ["alpha", "beta"]);
  const first = await worker();
  process(first).signal("SIGSTOP");
  const second = await worker(first);
  const before = lines.length;
  process(first).signal("SIGCONT");
  await until(
    "the former one says that it is over",
    () => lines.slice(before).some(({ name, event }) => name === first && (event === "lost" || event === "superseded")),
    { deadlineMs: 5_000 },
  );
  const seen = lines.length;
  await until("the second goes on", () => lines.slice(seen).filter(({ name }) => name === second).length > 20, {
    deadlineMs: 5_000,
  });
  assert.ok(!lines.slice(before).some(({ name, event }) => name === first && event === "wrote"));
  assert.equal(inOrder(), 2);
});

test("one that is no longer ready, or ends, gives the work up at once", async (t) => {
  const { worker, inOrder, process } = candidates(t, ["alpha", "beta", "gamma"]);
  const first = await worker();
  const drainedAt = performance.now();
  process(first).signal("SIGUSR2");
  const second = await worker(first);
  assert.ok(performance.now() - drainedAt < 2_000, "the lease's end was waited for");
  const stoppedAt = performance.now();
  process(second).signal("SIGTERM");
  const third = await worker(second);
  assert.ok(performance.now() - stoppedAt < 2_000, "the lease's end was waited for");
  assert.ok(third !== first && third !== second);
  assert.equal(await process(second).exited, 0);
  assert.equal(inOrder(), 3);
});

test("somebody takes the key away: the work ends, and begins again under a new generation", async (t) => {
  const { site, worker, inOrder, lines } = candidates(t, ["alpha"]);
  await worker();
  const coordination = connect(etcd.endpoints, site);
  t.after(() => coordination.close());
  await coordination.transact({ compare: [], apply: [{ delete: keys.coordinator }] });
  await until("it is elected again", () => lines.filter(({ event }) => event === "elected").length === 2, {
    deadlineMs: TAKEOVER_MS,
  });
  const seen = lines.length;
  await until("it works", () => lines.slice(seen).some(({ event }) => event === "wrote"), { deadlineMs: 2_000 });
  assert.equal(inOrder(), 2);
});
