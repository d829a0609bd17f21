import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import type { FileStat } from "#storage/contract.js";
import { createMeter } from "./meter.js";

const site = siteSchema.parse({ id: "00000000-0000-4000-8000-000000000000", name: "test" });
const folders = [{ path: "/in", target: "pool/in", quotaBytes: 100 }];
const accounts = new Map([["ann", accountSchema.parse({ name: "ann", folders })]]);
const snapshot: Snapshot = { revision: 1, hash: "", ...noEntries(), site, accounts, hostKeys: [] };
const config: ConfigView = { snapshot: () => snapshot, onChange: () => () => {} };
const find = async () => ({ type: "directory" }) as FileStat;
const meter = createMeter({ config, store: { find } });

const renamed = (from: string, path: string) =>
  meter({ effect: { kind: "rename", from, path, replace: false }, account: "ann" });

test("a directory that leaves a place, takes it along, becomes it or brings it: the place is counted anew", async () => {
  for (const [from, path] of [
    ["pool/in/sub", "elsewhere"],
    ["elsewhere", "pool/in/sub"],
    ["pool/in", "pool/away"],
    ["pool", "away"],
    ["pool/away", "pool/in"],
    ["away", "pool"],
  ] as const) {
    const [change, ...more] = await renamed(from, path);
    assert.deepEqual([change?.target, change?.unknown, more], ["pool/in", true, []], `${from} to ${path}`);
  }
  assert.equal((await renamed("pool/in/a", "pool/in/b"))[0]?.unknown, false, "all of it stays in the place");
  assert.deepEqual(await renamed("pool/away", "pool/inner"), []);
});
