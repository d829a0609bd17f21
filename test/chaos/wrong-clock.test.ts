import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { changeSite, ExtraNode } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import { Open, RawSftp } from "../support/clients/raw-sftp.js";
import { WallClock } from "../support/faketime.js";
import { longshore, type Site, startSite } from "../support/site.js";

/**
 * A node whose wall clock is an hour off, or jumps by an hour while it runs, beside three whose clocks are right: it loses no
 * lease, lets nobody in who has expired nor out too early, bans nobody longer or shorter than others would, decides nothing
 * for the cluster, and everybody says what is wrong.
 */

const HOUR = 3_600;
const CONTENT = bytes(200_000, "clock");

interface Status {
  readonly node: { readonly state: string; readonly time: number; readonly leaseUsable: boolean };
  readonly coordinator: { readonly name: string; readonly generation: number } | null;
  readonly clocksOff: { readonly name: string; readonly offsetMs: number }[];
}

describe("a node with a clock an hour off", () => {
  let site: Site;
  let partner: Partner;
  let clock: WallClock;
  let off: ExtraNode;
  let token: string;

  before(async () => {
    site = await startSite();
    await changeSite(site, (settings) => {
      settings.security = {
        ...(settings.security as object),
        addressFailures: 4,
        banSeconds: [600],
        lockoutSeconds: [600],
      };
    });
    partner = await Partner.add(site, "clock");
    clock = WallClock.at(join(site.directory, "wall-clock"), 0);
    off = await ExtraNode.start(site, { env: clock.env });
    token = readFileSync(site.endpoints().admin.tokenFile, "utf8").trim();
  });
  after(async () => {
    await off?.kill();
    await site?.stop();
  });

  const askOff = (path: string, bearer = token, body?: unknown): Promise<Response> =>
    fetch(`${off.adminUrl}${path}`, {
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
      signal: AbortSignal.timeout(10_000),
    });
  const statusOff = async () => (await (await askOff("/api/v1/status")).json()) as Status;
  const offsetMetric = async (url: string) =>
    Number(/^longshore_clock_offset_seconds (\S+)/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1]);

  /** Sets the clock and waits until the node goes by it and the others have heard. */
  async function setClock(seconds: number): Promise<void> {
    clock.set(seconds);
    await until(`its clock is ${seconds} s off`, async () => {
      return Math.abs((await statusOff()).node.time - Date.now() - seconds * 1_000) < 3_000;
    });
    await until("the others have heard", async () => {
      const { clocksOff } = (await site.admin("/api/v1/status")) as Status;
      return seconds === 0 ? clocksOff.length === 0 : clocksOff.some(({ name }) => name === off.name);
    });
    await until("it goes by the others", async () => {
      const named = (await statusOff()).clocksOff.map(({ name }) => name);
      return seconds === 0 ? named.length === 0 : named.join() === off.name;
    });
  }

  /** A login at the node that is off, by password. */
  async function login(user: string, password: string, source: string): Promise<boolean> {
    try {
      const session = await RawSftp.connect({
        host: "127.0.0.1",
        port: off.sftpPort,
        user,
        password,
        proxy: { source },
        deadlineMs: 8_000,
      });
      await session.end();
      return true;
    } catch {
      return false;
    }
  }

  /** Accounts and tokens that live 30 minutes more, and such that ended 30 minutes ago, by the true time. */
  const inMinutes = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();

  for (const [way, seconds] of [
    ["ahead", HOUR],
    ["behind", -HOUR],
  ] as const) {
    test(`an hour ${way}, from one moment to the next: no session, upload or lease notices`, async () => {
      const session = await partner.rawAt(off.sftpPort);
      const handle = await session.open(`/through-${way}`, Open.W | Open.C | Open.T);
      await session.write(handle, 0, CONTENT.subarray(0, 100_000));
      await setClock(seconds);
      const { node } = await statusOff();
      assert.equal(node.state, "ready");
      assert.ok(node.leaseUsable);
      await session.write(handle, 100_000, CONTENT.subarray(100_000));
      await session.close(handle);
      await session.end();
      const reader = await partner.rawOn(0);
      assert.ok((await reader.get(`/through-${way}`)).equals(CONTENT));
      await reader.end();
      const fresh = await partner.rawAt(off.sftpPort);
      await fresh.put(`/fresh-${way}`, CONTENT);
      await fresh.end();
    });

    test(`${way}: everybody says so: status, command line, metric, log and audit log`, async () => {
      for (let index = 0; index < 3; index++) {
        // Told by the next heartbeat; until then each node goes by the last one, in which it was off the other way.
        await until("the node is told, and how far it is off", async () => {
          const { clocksOff } = (await site.admin("/api/v1/status", { node: index })) as Status;
          const [first] = clocksOff;
          return (
            clocksOff.length === 1 &&
            first?.name === off.name &&
            Math.abs((first.offsetMs ?? 0) - seconds * 1_000) < 5_000
          );
        });
        const { adminUrl } = site.node(index);
        await until("its own clock is right", async () => Math.abs(await offsetMetric(adminUrl)) < 5);
      }
      assert.ok(Math.abs((await offsetMetric(off.adminUrl)) - seconds) < 5);
      const screen = await longshore(["status", "--dir", site.directory]);
      assert.match(
        screen.stdout,
        new RegExp(`${off.name}: its clock is \\d+ s ${way === "ahead" ? "ahead of" : "behind"}`),
      );
      await until("it says so itself", () => /this node's clock isn't the site's/.test(off.process.output));
      await until("it is on the record", async () => {
        const found = await longshore(["audit", "search", "--dir", site.directory, "--kind", "state", "-o", "json"]);
        return found.stdout.includes('"what":"clock"') || /"what": "clock"/.test(found.stdout);
      });
    });

    test(`${way}: accounts and tokens end by the site's time`, async () => {
      const admin = (path: string, method: "PUT" | "POST", body: unknown) => site.admin(path, { method, body });
      await site.addAccount(`lives-${way}`, { password: "a Pa55 word", expiresAt: inMinutes(30) } as object);
      await site.addAccount(`ended-${way}`, { password: "a Pa55 word", expiresAt: inMinutes(-30) } as object);
      assert.equal(await login(`lives-${way}`, "a Pa55 word", "192.0.2.30"), true);
      assert.equal(await login(`ended-${way}`, "a Pa55 word", "192.0.2.31"), false);
      const { revision } = (await admin(`/api/v1/administrators/ada-${way}`, "PUT", { role: "viewer" })) as {
        revision: number;
      };
      await site.converged(revision);
      const made = await askOff(`/api/v1/administrators/ada-${way}/tokens`, token, {
        scopes: ["*"],
        expiresAt: inMinutes(30),
      });
      const answer = (await made.json()) as { token: string };
      assert.equal(made.status, 201, JSON.stringify(answer));
      await until("the token works there", async () => (await askOff("/api/v1/status", answer.token)).status === 200);
      const late = await askOff(`/api/v1/administrators/ada-${way}/tokens`, token, {
        scopes: ["*"],
        expiresAt: inMinutes(-30),
      });
      assert.equal(late.status, 422);
    });

    test(`${way}: bans and lockouts made there and elsewhere last as long as they should`, async () => {
      const [guilty, condemned] = way === "ahead" ? ["198.51.100.1", "198.51.100.2"] : ["198.51.100.3", "198.51.100.4"];
      for (let i = 0; i < 4; i++) assert.equal(await login("clock", `wrong ${i}`, guilty), false);
      interface Ban {
        readonly address: string;
        readonly active: boolean;
        readonly until: string;
      }
      const bans = async (response: Response) => ((await response.json()) as { bans: Ban[] }).bans;
      const onNode = async (index: number) => bans(await site.adminFetch("/api/v1/bans", { node: index }));
      const ban = await until("it is banned on a node whose clock is right", async () =>
        (await onNode(1)).find(({ address, active }) => address === guilty && active),
      );
      const lasts = Date.parse(ban.until) - Date.now();
      assert.ok(lasts > 570_000 && lasts < 610_000, `the ban lasts ${lasts} ms`);
      await site.admin("/api/v1/bans", { method: "POST", body: { address: condemned, seconds: 600 } });
      await until("it counts where the clock is wrong", async () =>
        (await bans(await askOff("/api/v1/bans"))).some(({ address, active }) => address === condemned && active),
      );
      assert.equal(await login("clock", partner.password, condemned), false);
      assert.equal(await login("clock", partner.password, "192.0.2.40"), true);
    });
  }

  test("it never becomes the coordinator, also when the one that is dies", async () => {
    await setClock(HOUR);
    const holder = async () => ((await site.admin("/api/v1/status", { node: 0 })) as Status).coordinator ?? undefined;
    const before = await until("there is a coordinator", holder);
    assert.notEqual(before.name, off.name);
    const index = site.endpoints().nodes.findIndex(({ name }) => name === before.name);
    assert.ok(index >= 0);
    const pid = site.killNode(index);
    await site.nodeReady(index, pid);
    // Not the one that died: it is shown until its lease has run out.
    const next = await until("there is a new one", async () => {
      const { coordinator } = await statusOff();
      return coordinator !== null && coordinator.generation > before.generation ? coordinator : undefined;
    });
    assert.notEqual(next.name, off.name);
  });

  test("the clock is right again: it is said once, nothing is left of it, and the audit log verifies", async () => {
    await setClock(0);
    await until("it says so", () => /this node's clock is the site's again/.test(off.process.output));
    const session = await partner.rawAt(off.sftpPort);
    await session.put("/afterwards", CONTENT);
    await session.end();
    const verified = await longshore(["audit", "verify", "--dir", site.directory]);
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  });
});
