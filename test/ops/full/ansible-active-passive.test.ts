import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { AnsibleSite } from "../../support/ansible-site.js";
import { Busy } from "../../support/clients/busy.js";
import { ensureClients } from "../../support/clients/install.js";
import { Partner } from "../../support/clients/partner.js";
import { report } from "../../support/clients/run.js";
import { IMAGE_TAG } from "../../support/compose.js";
import { told } from "../../support/machines-plan.js";

/** Two nodes of which one serves, and a witness: installed, switched and failed over on machines. */

/** The issue's own bound, from the cable's end to the first login. */
const TAKEOVER_MS = 10_000;

describe("an active-passive site on machines", () => {
  let site: AnsibleSite;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.install({
      etcd: ["m1", "m2", "witness"],
      nodes: ["m1", "m2"],
      balancers: ["m1", "m2"],
      vars: { longshore_mode: "active-passive", longshore_active_order: ["m1", "m2"] },
    });
    partner = await Partner.add(site, "busy");
  });
  after(async () => {
    await site?.stop();
  });

  /** `m1 ready, m2 passive`, as `machine`'s node knows it. */
  async function states(machine?: string): Promise<string> {
    const nodes = [...(await site.nodes(machine))].sort((a, b) => (a.name < b.name ? -1 : 1));
    return nodes.map(({ name, state }) => `${name} ${state}`).join(", ");
  }

  const are = (wanted: string, machine?: string) =>
    until(wanted, async () => (await states(machine).catch(() => "")) === wanted, { deadlineMs: 60_000, everyMs: 250 });

  test("serves by the first in the order, and a second run changes nothing", async () => {
    await are("m1 ready, m2 passive");
    const again = await site.play("site");
    assert.deepEqual(site.changes(again), []);
  });

  test("switches by command, and no transfer fails", async () => {
    const session = await partner.raw();
    await session.mkdir("in");
    await session.end();
    const load = new Busy({ partner, directory: "in", short: 10, long: 5, longMs: 10_000 });
    await until("transfers run", () => load.transfers > 5, { deadlineMs: 60_000 });
    const dry = await site.play("switch_active", "-e", "longshore_to=m2", "--check");
    assert.match(told(dry), /m2 would be active, before it m1/);
    await are("m1 ready, m2 passive");
    const outcome = await site.play("switch_active", "-e", "longshore_to=m2");
    await load.stop();
    assert.deepEqual(load.failures, []);
    await are("m1 passive, m2 ready");
    const check = await partner.raw();
    await load.ledger.checkNew(check);
    await check.end();
    report(`switch under 15 sessions: ${(outcome.ms / 1000).toFixed(0)} s, ${load.transfers} transfers, 0 failed`);
    const again = await site.play("switch_active", "-e", "longshore_to=m2");
    assert.deepEqual(site.changes(again), []);
  });

  test("an upgrade to what the site runs already leaves the active node where it is", async () => {
    const outcome = await site.play("upgrade", "-e", `longshore_version=${IMAGE_TAG}`);
    assert.deepEqual(site.changes(outcome), []);
    await are("m1 passive, m2 ready");
  });

  test("the other node takes over after a pulled cable, and keeps serving when the first is back", async () => {
    site.lab.pullCable("m2");
    const pulled = performance.now();
    await until(
      "a login after the loss of the active node",
      async () => {
        try {
          const session = await partner.raw({ deadlineMs: 1_500, replyMs: 1_500 });
          await session.end();
          return true;
        } catch {
          return false;
        }
      },
      { deadlineMs: 60_000, everyMs: 50 },
    );
    const took = performance.now() - pulled;
    report(`a pulled cable of the active node (with the virtual address): a login after ${(took / 1000).toFixed(1)} s`);
    assert.ok(took < TAKEOVER_MS, `${took} ms`);
    site.lab.plugIn("m2");
    await are("m1 ready, m2 passive");
  });
});
