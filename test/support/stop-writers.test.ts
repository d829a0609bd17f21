import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger } from "./clients/ledger.js";
import { LoginProbe } from "./clients/login-probe.js";
import type { Partner } from "./clients/partner.js";
import { within } from "./clients/run.js";
import { Traffic } from "./clients/traffic.js";
import { Watcher } from "./clients/watcher.js";

const nobody = () => Promise.reject(new Error("nobody is there"));

test("partners who can't get in any more end with a test that failed: its file doesn't hang", async () => {
  const watcher = new Watcher(nobody);
  const partner = { raw: nobody } as unknown as Partner;
  const traffic = new Traffic({ partner, ports: [1], ledger: new Ledger(), watcher, directory: "/" });
  const probe = new LoginProbe(nobody);
  await within(2_000, "all to end", Promise.all([traffic.abandon(), probe.abandon(), watcher.stop()]));
  assert.deepEqual([traffic.files, probe.count], [0, 0]);
  await assert.rejects(traffic.stop(), /\/\/0 couldn't be sent/);
});
