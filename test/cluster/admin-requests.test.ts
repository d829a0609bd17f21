import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { connect, keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

const CLI = fileURLToPath(new URL("../../services/cli/main.js", import.meta.url));

let etcd: EtcdCluster;
let site: Site;
let alpha: Node;
let beta: Node;

keepAwake();
before(async () => {
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  [alpha, beta] = await Promise.all([site.node("alpha", 1), site.node("beta", 2)]);
  await Promise.all([alpha.ready(), beta.ready()]);
});
after(async () => {
  await Promise.all([alpha, beta].map((node) => node?.process.kill()));
  await etcd.stop();
  site.remove();
});

/** An account's write under an idempotency key. */
function put(node: Node, name: string, key: string, body: object, headers: Record<string, string> = {}) {
  return node.ask(`/api/v1/accounts/${name}`, { method: "PUT", body, headers: { "idempotency-key": key, ...headers } });
}

test("a request that is repeated under its key, through another node, gets the first one's answer and no second effect", async () => {
  const first = await put(alpha, "ann", "key-1", { description: "one" });
  assert.equal(first.status, 201);
  await alpha.ask("/api/v1/accounts/ann", { method: "PUT", body: { description: "two" } });
  const again = await put(beta, "ann", "key-1", { description: "one" });
  assert.equal(again.status, 201);
  assert.deepEqual(again.body, first.body);
  assert.equal(again.etag, first.etag);
  assert.equal((await beta.ask("/api/v1/accounts/ann")).body.description, "two");
});

test("the same key with another body, address or precondition is refused", async () => {
  await put(alpha, "bob", "key-2", { description: "one" });
  assert.equal((await put(beta, "bob", "key-2", { description: "two" })).status, 422);
  assert.equal((await put(beta, "ben", "key-2", { description: "one" })).status, 422);
  assert.equal((await put(beta, "bob", "key-2", { description: "one" }, { "if-none-match": "*" })).status, 422);
  assert.equal((await put(beta, "bob", "\u00e9", {})).status, 400);
});

test("many repetitions at once have one effect", async () => {
  const drains = Array.from({ length: 20 }, (_, at) =>
    (at % 2 === 0 ? alpha : beta).ask("/api/v1/administrators/ada", {
      method: "PUT",
      body: { role: "admin" },
      headers: { "idempotency-key": "key-3" },
    }),
  );
  const answers = await Promise.all(drains);
  const statuses = answers.map(({ status }) => status);
  assert.ok(
    statuses.every((status) => status === 201 || status === 409),
    statuses.join(),
  );
  const made = answers.filter(({ status }) => status === 201).map(({ body }) => body.revision);
  assert.ok(made.length > 0);
  assert.equal(new Set(made).size, 1, made.join());
});

test("a refusal isn't remembered: what was wrong can be mended and sent again", async () => {
  assert.equal((await put(alpha, "cy", "key-4", {}, { "if-match": '"1"' })).status, 412);
  assert.equal((await put(beta, "cy", "key-4", {})).status, 201);
});

test("a token is never kept for a repetition, nor is anything that a password could be guessed from", async () => {
  const headers = { "idempotency-key": "key-5" };
  const ask = () => beta.ask("/api/v1/administrators/ada/tokens", { method: "POST", body: {}, headers });
  const made = await ask();
  assert.equal(made.status, 201);
  const again = await ask();
  assert.equal(again.status, 409);
  assert.match(again.text, /isn't kept/);
  await put(alpha, "dot", "key-6", { password: "guess me" });
  const coordination = connect(etcd.endpoints, "test");
  const { entries } = await coordination.list("idempotency/");
  await coordination.close();
  assert.ok(entries.length >= 5);
  const all = entries.map(({ key, value }) => key + value).join("\n");
  for (const secret of [String(made.body.token), "guess me", "key-5"]) assert.ok(!all.includes(secret), secret);
});

test("a key whose node died before it was done can be used again", async () => {
  const coordination = connect(etcd.endpoints, "test");
  const lease = await coordination.lease();
  // As a node leaves it behind that is killed in the middle: under way, on a lease that nobody keeps.
  const { entries: before } = await coordination.list("idempotency/", { keysOnly: true });
  const hash = "0".repeat(64);
  const apply = [{ put: `idempotency/${hash}`, value: JSON.stringify({ request: "x" }), lease: lease.id }];
  await coordination.transact({ compare: [], apply });
  await coordination.close();
  const other = connect(etcd.endpoints, "test");
  await until(
    "it is gone with its lease",
    async () => {
      const { entries } = await other.list("idempotency/", { keysOnly: true });
      return entries.length === before.length;
    },
    { deadlineMs: 8_000 },
  );
  await other.close();
});

test("waiting for convergence ends as soon as it is everywhere, and in time where it isn't", async () => {
  const made = await alpha.ask("/api/v1/accounts/eve", { method: "PUT", body: {} });
  const { body } = await beta.ask(`/api/v1/cluster/convergence?revision=${made.body.revision}&wait=10`);
  assert.equal(body.converged, true);
  const startedAt = performance.now();
  const never = await beta.ask("/api/v1/cluster/convergence?revision=999999999&wait=0.5");
  assert.equal(never.body.converged, false);
  const took = performance.now() - startedAt;
  assert.ok(took >= 450 && took < 3_000, `${took} ms`);
});

/** Sends a request whole, then reads until the other side closes, as a client without a look at what comes meanwhile. */
async function sendAll(node: Node, head: readonly string[], body: Buffer): Promise<string> {
  const socket = connectPlain(Number(new URL(node.url).port), "127.0.0.1");
  let failed: Error | undefined;
  socket.on("error", (error) => {
    failed = error;
  });
  let heard = "";
  socket.setEncoding("latin1");
  socket.on("data", (chunk: string) => {
    heard += chunk;
  });
  const lines = [...head, "Host: x", `Authorization: Bearer ${node.token}`, "Connection: close"];
  socket.end(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\nContent-Length: ${body.length}\r\n\r\n`), body]));
  await new Promise((resolve) => socket.once("close", resolve));
  assert.equal(failed, undefined, `${head[0]}: ${heard.slice(0, 200)}`);
  return heard;
}

test("a client that sends a body which nobody reads hears the answer all the same", async () => {
  const body = Buffer.alloc(4_000_000, "x");
  for (let round = 0; round < 5; round++) {
    assert.match(await sendAll(alpha, ["GET /health/live HTTP/1.1"], body), /^HTTP\/1\.1 200 /);
    assert.match(await sendAll(alpha, ["DELETE /api/v1/accounts/nobody HTTP/1.1"], body), /^HTTP\/1\.1 404 /);
    assert.match(await sendAll(alpha, ["OPTIONS /api/v1/site HTTP/1.1"], body), /^HTTP\/1\.1 [24]\d\d /);
    const long = `X-Long: ${"x".repeat(40_000)}`;
    assert.match(await sendAll(alpha, ["PUT /api/v1/site HTTP/1.1", long], body), /^HTTP\/1\.1 431 /);
    assert.match(await sendAll(alpha, ["PUT /api/v1/site HTTP/9.9"], body), /^HTTP\/1\.1 400 /);
    const typed = ["PUT /api/v1/accounts/ann HTTP/1.1", "Content-Type: application/json"];
    assert.match(await sendAll(alpha, typed, body), /^HTTP\/1\.1 413 /);
  }
});

/** An authority of its own, and a certificate for 127.0.0.1 from it. */
function makeCertificate(directory: string, name: string): { ca: string; certificate: string; key: string } {
  mkdirSync(directory, { recursive: true });
  const at = (file: string) => join(directory, `${name}-${file}`);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...curve,
    "-keyout",
    at("ca.key"),
    "-out",
    at("ca.pem"),
    "-subj",
    `/CN=${name} ca`,
    "-days",
    "2",
  );
  openssl("req", ...curve, "-keyout", at("key.pem"), "-out", at("request.pem"), "-subj", `/CN=${name}`);
  writeFileSync(at("extensions"), "subjectAltName=IP:127.0.0.1\n");
  const signed = [
    "-CA",
    at("ca.pem"),
    "-CAkey",
    at("ca.key"),
    "-CAcreateserial",
    "-days",
    "2",
    "-extfile",
    at("extensions"),
  ];
  openssl("x509", "-req", "-in", at("request.pem"), ...signed, "-out", at("certificate.pem"));
  return { ca: at("ca.pem"), certificate: at("certificate.pem"), key: at("key.pem") };
}

/** The name in the certificate that is shown, undefined where there is no TLS at all. */
function shownName(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    socket.on("secureConnect", () => {
      const { CN } = socket.getPeerCertificate().subject;
      resolve(Array.isArray(CN) ? CN[0] : CN);
      socket.destroy();
    });
    socket.on("error", () => resolve(undefined));
  });
}

test("with TLS the admin port speaks nothing else, is checked by the command line, and takes a renewed certificate", async () => {
  const pki = join(site.directory, "pki");
  const [old, renewed] = [makeCertificate(pki, "old"), makeCertificate(pki, "renewed")];
  const [certificateFile, keyFile] = [join(pki, "in-use.pem"), join(pki, "in-use.key")];
  copyFileSync(old.certificate, certificateFile);
  copyFileSync(old.key, keyFile);
  const secure = await site.node("gamma", 3, {}, { tls: { certificateFile, keyFile } });
  const port = Number(new URL(secure.url).port);
  await until("it answers", async () => (await shownName(port)) === "old", { deadlineMs: 20_000 });
  assert.equal((await secure.ask("/health/live")).status, 0, "plain HTTP was answered");

  const longshore = (...more: string[]) => {
    const where = ["--url", `https://127.0.0.1:${port}`, "--token-file", join(site.directory, "token")];
    return spawnSync(process.execPath, [CLI, "admin", "whoami", ...where, ...more], { encoding: "utf8" });
  };
  const trusted = longshore("--ca-file", old.ca);
  assert.equal(trusted.status, 0, trusted.stderr);
  assert.match(trusted.stdout, /site token/);
  const untrusted = longshore();
  assert.equal(untrusted.status, 5);
  assert.match(untrusted.stderr, /--ca-file/);
  assert.equal(longshore("--ca-file", renewed.ca).status, 5);

  // A key that doesn't fit, as it is between two renames: the old pair stays.
  const replace = (from: string, to: string) => {
    copyFileSync(from, `${to}.new`);
    renameSync(`${to}.new`, to);
  };
  replace(renewed.key, keyFile);
  await until("it is said", () => /certificate can't be used; the old one stays/.test(secure.process.output), {
    deadlineMs: 5_000,
  });
  assert.equal(await shownName(port), "old");
  replace(renewed.certificate, certificateFile);
  await until("the new one is shown", async () => (await shownName(port)) === "renewed", { deadlineMs: 5_000 });
  assert.equal(longshore("--ca-file", renewed.ca).status, 0);
  await secure.process.kill();

  writeFileSync(keyFile, "nonsense");
  const faulty = await site.node("delta", 4, {}, { tls: { certificateFile, keyFile } });
  assert.equal(await faulty.process.exited, 78);
  assert.match(faulty.process.output, /^longshore-node: admin\.tls: .*can't be used together$/m);
});
