import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

/** `site set`, `active switch` and `node drain` against an admin API that is made up: what they ask for, and what they say. */

const CLI = fileURLToPath(new URL("../main.js", import.meta.url));

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly match: string | undefined;
  readonly body: unknown;
}

async function api(t: TestContext, answer: (asked: Asked) => { status?: number; body: unknown }) {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    const { method = "", url: path = "", headers } = request;
    const one = {
      method,
      path,
      match: headers["if-match"],
      body: text === "" ? undefined : (JSON.parse(text) as unknown),
    };
    asked.push(one);
    const { status = 200, body } = answer(one);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const directory = mkdtempSync(join(tmpdir(), "longshore-site-set-"));
  const token = join(directory, "token");
  writeFileSync(token, "secret");
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const run = async (...args: string[]) => {
    const child = spawn(process.execPath, [CLI, ...args, "--url", url, "--token-file", token, "-o", "json"]);
    let stdout = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    const [code] = (await once(child, "close")) as [number];
    return { code, answer: stdout === "" ? undefined : (JSON.parse(stdout) as unknown) };
  };
  return { asked, run };
}

const SITE = {
  id: "x",
  mode: "active-active",
  activePassive: { order: ["a"], drainSeconds: 60, unhealthySeconds: 10 },
  revision: 7,
};

test("site set writes what is given over the rest, against the revision that was read, and only if it differs", async (t) => {
  const { asked, run } = await api(t, ({ method }) => ({ body: method === "PUT" ? { ...SITE, revision: 8 } : SITE }));
  const set = await run("site", "set", "--mode", "active-passive", "--active-order", "b, a");
  assert.deepEqual(set, { code: 0, answer: { changed: true, dryRun: false, revision: 8 } });
  const [, put] = asked;
  assert.equal(put?.match, '"7"');
  assert.deepEqual(put?.body, {
    ...SITE,
    mode: "active-passive",
    activePassive: { ...SITE.activePassive, order: ["b", "a"] },
  });
  asked.length = 0;
  const same = await run(
    "site",
    "set",
    "--mode",
    "active-active",
    "--active-order",
    "a",
    "--active-drain-seconds",
    "60",
  );
  assert.deepEqual(same, { code: 0, answer: { changed: false, dryRun: false, revision: 7 } });
  const dry = await run("site", "set", "--active-order=", "--dry-run");
  assert.deepEqual(dry, { code: 0, answer: { changed: true, dryRun: true, revision: 7 } });
  assert.ok(asked.every(({ method }) => method === "GET"));
  assert.equal((await run("site", "set")).code, 2, "nothing is given");
});

test("active switch --wait ends when the new one serves and the former one has no session left", async (t) => {
  let looks = 0;
  const node = (name: string, active: boolean, state: string, sessions: number) => ({
    ...{ id: name, name, active, state, sessions },
    ...{ place: 1, transfers: sessions, reasons: [] },
  });
  const { asked, run } = await api(t, ({ method }) => {
    if (method === "POST") return { body: { from: "a", to: "b", switched: true, dryRun: false } };
    looks++;
    const nodes = [node("a", false, "passive", looks < 3 ? 2 : 0), node("b", true, looks < 2 ? "passive" : "ready", 1)];
    return { body: { mode: "active-passive", order: [], active: { name: "b", since: "", how: "switch" }, nodes } };
  });
  const { code, answer } = await run("active", "switch", "--to", "b", "--wait");
  assert.equal(code, 0);
  const { seconds, ...rest } = answer as { seconds: number };
  assert.ok(seconds >= 0);
  assert.deepEqual(rest, {
    ...{ from: "a", to: "b", switched: true, dryRun: false },
    ...{ drained: true, sessions: 0, transfers: 0 },
  });
  assert.deepEqual(asked[0]?.body, { to: "b", dryRun: false });
  assert.equal(looks, 3);
});

test("node drain --wait: a transfer that comes from the balancer right after the wish is waited for", async (t) => {
  const transfers = [0, 1, 1];
  let ended = false;
  const { run } = await api(t, ({ method }) => {
    if (method === "POST") return { body: { id: "a", wish: "drain" } };
    const now = transfers.shift() ?? 0;
    ended = transfers.length === 0 && now === 0;
    return { body: { nodes: [{ id: "a", name: "a", state: "draining", load: { sessions: now, transfers: now } }] } };
  });
  assert.equal((await run("node", "drain", "a", "--wait")).code, 0);
  assert.ok(ended, "it was told idle at the first look");
});

test("a node that the site doesn't hear from isn't drained: it is waited for, and in the end it is said what to do", async (t) => {
  let looks = 0;
  const draining = { id: "a", name: "a", state: "draining", load: { sessions: 1, transfers: 1 } };
  const { run } = await api(t, ({ method }) => {
    if (method === "POST") return { body: { id: "a", wish: "drain" } };
    looks++;
    return { body: { nodes: looks === 1 ? [draining] : [] } };
  });
  assert.equal((await run("node", "drain", "a", "--wait", "--timeout", "1")).code, 1);
  assert.ok(looks >= 2);
  const former = await api(t, ({ method }) => {
    if (method === "POST") return { body: { from: "a", to: "b", switched: true, dryRun: false } };
    const nodes = [{ name: "b", active: true, state: "ready", sessions: 1, transfers: 0, place: 1, reasons: [] }];
    return { body: { mode: "active-passive", order: [], active: { name: "b", since: "", how: "switch" }, nodes } };
  });
  assert.equal((await former.run("active", "switch", "--wait", "1")).code, 1);
});

test("active switch: what the API refuses is a conflict; time that is up while transfers run is none", async (t) => {
  const refusing = await api(t, () => ({ status: 409, body: { title: "Not possible now", detail: "b is draining" } }));
  assert.equal((await refusing.run("active", "switch", "--to", "b")).code, 6);
  const { run } = await api(t, ({ method }) => {
    if (method === "POST") return { body: { from: "a", to: "b", switched: true, dryRun: false } };
    const rest = { place: 1, reasons: [] };
    const nodes = [
      { name: "a", active: false, state: "passive", sessions: 4, transfers: 3, ...rest },
      { name: "b", active: true, state: "ready", sessions: 1, transfers: 0, ...rest },
    ];
    return { body: { mode: "active-passive", order: [], active: { name: "b", since: "", how: "switch" }, nodes } };
  });
  const { code, answer } = await run("active", "switch", "--wait", "0");
  const { drained, transfers } = answer as { drained: boolean; transfers: number };
  assert.deepEqual({ code, drained, transfers }, { code: 0, drained: false, transfers: 3 });
});
