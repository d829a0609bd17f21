import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { EXIT } from "#cli/errors.js";
import { Open, RawSftp } from "../support/clients/raw-sftp.js";
import { longshore } from "../support/site.js";
import { keepAwake } from "./fixture.js";
import { settingsOf } from "./guarded-site.js";
import { type Node, Site } from "./node-process.js";

/** `longshore ban|lockout|session|transfer` against a standalone node: no etcd, no balancer. */

let site: Site;
let node: Node;

keepAwake();
before(async () => {
  site = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  node = await site.node("solo", 1);
  await node.ready();
  assert.equal((await node.ask("/api/v1/accounts/ann", { method: "PUT", body: { password: "secret" } })).status, 201);
});
after(async () => {
  await node.process.kill();
  site.remove();
});

function cli(...args: string[]) {
  return longshore([...args, "--url", node.url, "--token-file", join(site.directory, "token")]);
}

async function answer(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await cli(...args, "-o", "json");
  assert.equal(code, EXIT.ok, stderr);
  return JSON.parse(stdout);
}

test("bans are added, listed and removed, for people and for scripts", async () => {
  const made = (await answer("ban", "add", "192.0.2.99/24", "--for", "2h", "--reason", "a scanner")) as Record<
    string,
    unknown
  >;
  assert.equal(made.address, "192.0.2.0/24");
  const hours = (Date.parse(String(made.until)) - Date.parse(String(made.at))) / 3_600_000;
  assert.equal(hours, 2);
  assert.match((await cli("ban", "add", "2001:db8::/32")).stdout, /^2001:db8::\/32 is banned until it is removed$/m);
  const listed = (await answer("ban", "list")) as { address: string; reason: string; active: boolean }[];
  assert.deepEqual(listed.map(({ address }) => address).sort(), ["192.0.2.0/24", "2001:db8::/32"]);
  const text = (await cli("ban", "list")).stdout;
  assert.match(text, /^ADDRESS +UNTIL +LEVEL +BY +REASON$/m);
  assert.match(text, /^192\.0\.2\.0\/24 .* administrator +a scanner$/m);
  assert.deepEqual(await answer("ban", "remove", "192.0.2.0/24"), { removed: "192.0.2.0/24" });
  assert.equal((await cli("ban", "remove", "2001:db8::/32")).code, EXIT.ok);
  assert.deepEqual(await answer("ban", "list", "--all"), []);
});

test("what is wrong ends with its exit code and says why", async () => {
  const cases: [string[], number, RegExp][] = [
    [["ban", "remove", "192.0.2.1"], EXIT.notFound, /no ban of 192\.0\.2\.1/],
    [["ban", "add", "nowhere"], EXIT.usage, /address: an address or a network/],
    [["ban", "add", "127.0.0.1"], EXIT.usage, /balancer/],
    [["ban", "add", "192.0.2.1", "--for", "soon"], EXIT.usage, /90s, 30m, 12h or 7d/],
    [["ban", "add", "192.0.2.1", "--for", "0s"], EXIT.usage, /--for 0s/],
    [["ban", "add"], EXIT.usage, /missing required argument/],
    [["lockout", "remove", "ann"], EXIT.notFound, /isn't locked/],
    [["session", "kill", "000000000000"], EXIT.notFound, /no session/],
  ];
  for (const [args, code, why] of cases) {
    const result = await cli(...args);
    assert.equal(result.code, code, `${args.join(" ")}: ${result.stderr}`);
    assert.match(result.stderr, why);
    assert.equal(result.stdout, "");
  }
});

test("sessions and transfers are listed; a session is ended", async () => {
  const { port } = settingsOf(node).sftp;
  const session = await RawSftp.connect({ host: "127.0.0.1", port, user: "ann", password: "secret" });
  const handle = await session.open("/some file", Open.W | Open.C | Open.T);
  await session.write(handle, 0, Buffer.alloc(2_048));
  const [one, ...more] = (await answer("session", "list")) as Record<string, string>[];
  assert.deepEqual(more, []);
  assert.deepEqual([one?.account, one?.address, one?.node], ["ann", "127.0.0.1", "solo"]);
  const [transfer] = (await answer("transfer", "list")) as Record<string, unknown>[];
  assert.deepEqual([transfer?.path, transfer?.bytes, transfer?.session], ["/some file", 2_048, one?.id]);
  assert.match((await cli("transfer", "list")).stdout, /ann +solo +upload +2\.0 KiB +\/some file/);
  assert.match((await cli("session", "kill", String(one?.id))).stdout, /^ended [0-9a-f]{12} on solo$/m);
  await session.closed;
  assert.deepEqual(await answer("session", "list"), []);
});

test("loopback may hide a relay: where there is no balancer it is never banned", async () => {
  const { port } = settingsOf(node).sftp;
  const guess = (password: string) => RawSftp.connect({ host: "127.0.0.1", port, user: "ann", password });
  for (let i = 0; i < 25; i++) await assert.rejects(guess(`wrong ${i}`));
  assert.deepEqual(await answer("ban", "list"), []);
  assert.deepEqual((await answer("lockout", "list")) as unknown[], []);
  await (await guess("secret")).end();
});
