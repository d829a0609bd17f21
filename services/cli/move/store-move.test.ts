import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import type { Report } from "../up/report.js";
import type { Mode } from "./plan.js";
import { type EtcdSettings, moveStore } from "./store-move.js";

const settings: EtcdSettings = { site: "local", coordination: { kind: "etcd", endpoints: ["http://127.0.0.1:1"] } };

/** A directory a site in place of etcd, and a process that dies at its n-th report. */
async function stores(t: TestContext, from: "disk" | "etcd") {
  const root = mkdtempSync(join(tmpdir(), "longshore-store-move-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const embedded = join(root, "embedded");
  const openSite = (site: string) => createEmbeddedCoordination({ directory: join(root, site) });
  const first = from === "etcd" ? openSite("local") : createEmbeddedCoordination({ directory: embedded });
  const put = (key: string) => ({ put: key, value: key });
  await first.transact({ compare: [], apply: [put(keys.site), put("config/accounts/ann"), put(keys.configHead)] });
  await first.close();
  const holds = async (directory: string) => {
    if (!existsSync(directory)) return false;
    const store = createEmbeddedCoordination({ directory });
    try {
      return (await store.list("")).entries.length === 3;
    } finally {
      await store.close();
    }
  };
  return {
    embedded,
    onDisk: () => holds(embedded),
    inEtcd: () => holds(join(root, "local")),
    aside: () => holds(`${embedded}.before-promote`),
    move(to: Mode, replace: boolean, diesAt = Number.POSITIVE_INFINITY) {
      let reports = 0;
      const step = () => {
        reports += 1;
        if (reports === diesAt) throw new Error("died");
      };
      const report = { step, warn: step } as unknown as Report;
      return moveStore({ to, settings, embedded, replace, dryRun: false, report, openSite });
    },
  };
}

for (const [to, from] of [
  ["cluster", "disk"],
  ["standalone", "etcd"],
] as const) {
  test(`to ${to}: wherever it dies, the site is never in both, and the same command ends the move`, async (t) => {
    for (const diesAt of [1, 2, 3]) {
      const site = await stores(t, from);
      await site.move(to, false, diesAt).catch((error: unknown) => assert.match(String(error), /died/));
      assert.ok(!((await site.onDisk()) && (await site.inEtcd())), `in both after report ${diesAt}`);
      const done = to === "cluster" ? await site.aside() : await site.onDisk();
      if (!done) assert.equal(await site.move(to, true), 3);
      assert.deepEqual([await site.onDisk(), await site.inEtcd()], [to === "standalone", to === "cluster"]);
    }
  });
}

test("a store that a node made in the place of one under way isn't taken for the site", async (t) => {
  const site = await stores(t, "disk");
  await assert.rejects(site.move("cluster", false, 1), /died/);
  await createEmbeddedCoordination({ directory: site.embedded }).close();
  await assert.rejects(site.move("cluster", true), /move away the one that isn't the site's/);
});
