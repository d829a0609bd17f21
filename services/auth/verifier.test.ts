import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { test } from "node:test";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { type Account, accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import type { Logger } from "#lib/logger.js";
import type { Verdict } from "./contract.js";
import { hashPassword } from "./passwords.js";
import { parsePublicKey } from "./public-keys.js";
import { endThreads, spoilThreads, starve } from "./testing.js";
import { BUSY, createVerifier } from "./verifier.js";

const client = { address: "192.0.2.1", protocol: "sftp" } as const;
const secret = Buffer.from("secret");

/** A configuration that stands still until `set` replaces it, as a new snapshot does. */
function configOf(
  accounts: readonly object[],
  legacyAlgorithms = false,
): ConfigView & { set(of: readonly object[]): void } {
  const make = (of: readonly object[]): Snapshot => ({
    revision: 1,
    hash: "",
    ...noEntries(),
    site: siteSchema.parse({ id: "6f2c1a52-6f0b-4b2a-9a57-3a1f3a1f3a1f", name: "t", sftp: { legacyAlgorithms } }),
    accounts: new Map(
      of.map((entry): [string, Account] => [accountSchema.parse(entry).name, accountSchema.parse(entry)]),
    ),
    administrators: new Map(),
    hostKeys: [],
  });
  let snapshot = make(accounts);
  return {
    snapshot: () => snapshot,
    onChange: () => () => {},
    set(of) {
      snapshot = make(of);
    },
  };
}

function loggerWith(heard: Partial<Pick<Logger, "warn" | "error">>): Logger {
  const logger: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => logger, ...heard };
  return logger;
}

const reason = (verdict: Verdict) => (verdict.accepted ? "accepted" : verdict.reason);

test("a password logs in to its enabled account only", async () => {
  const passwordHash = await hashPassword(secret);
  const config = configOf([
    { name: "alice", passwordHash },
    { name: "off", passwordHash, enabled: false },
    { name: "keys" },
    { name: "odd", passwordHash: "$argon2id$odd" },
  ]);
  const verifier = createVerifier({ config });
  const check = async (name: string, password = secret) => reason(await verifier.password(name, password, client));
  assert.equal(await check("alice"), "accepted");
  assert.equal(await check("alice", Buffer.from("wrong")), "wrong password");
  assert.equal(await check("off"), "account disabled");
  assert.equal(await check("nobody"), "unknown account");
  assert.equal(await check("__proto__"), "unknown account");
  assert.equal(await check("keys"), "the account has no password");
  assert.match(await check("odd"), /unusable/);
});

test("an account's end comes by the site's time, not by this host's", async () => {
  const passwordHash = await hashPassword(secret);
  const hour = 3_600_000;
  const inHours = (hours: number) => new Date(Date.now() + hours * hour).toISOString();
  const config = configOf([
    { name: "alive", passwordHash, expiresAt: inHours(0.5) },
    { name: "over", passwordHash, expiresAt: inHours(-0.5) },
  ]);
  const at = async (offsetMs: number, name: string) => {
    const verifier = createVerifier({ config, now: () => Date.now() + offsetMs });
    return reason(await verifier.password(name, secret, client));
  };
  assert.equal(await at(0, "alive"), "accepted");
  assert.equal(await at(0, "over"), "the account has expired");
  assert.equal(await at(hour, "alive"), "the account has expired", "this host's clock was an hour behind");
  assert.equal(await at(-hour, "over"), "accepted", "this host's clock was an hour ahead");
});

test("an account that was disabled or changed during the check is not let in", async () => {
  const passwordHash = await hashPassword(secret);
  const config = configOf([{ name: "alice", passwordHash }]);
  const verifier = createVerifier({ config });
  const disabled = verifier.password("alice", secret, client);
  config.set([{ name: "alice", passwordHash, enabled: false }]);
  assert.equal(reason(await disabled), "account disabled");
  const another = await hashPassword("other");
  config.set([{ name: "alice", passwordHash }]);
  const changed = verifier.password("alice", secret, client);
  config.set([{ name: "alice", passwordHash: another }]);
  assert.equal(reason(await changed), "the password was changed during the check");
});

interface UserKey {
  readonly line: string;
  readonly blob: Buffer;
  readonly type: string;
  readonly privateKey: KeyObject;
  readonly hash: string | undefined;
}

/** SSH's strings, one after the other. */
function wire(...fields: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(field));
      return [length, Buffer.from(field)];
    }),
  );
}

function userKey(kind: "ed25519" | "rsa" | "P-256" | "P-384" | "P-521"): UserKey {
  const { privateKey } =
    kind === "ed25519"
      ? generateKeyPairSync("ed25519")
      : kind === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 2048 })
        : generateKeyPairSync("ec", { namedCurve: kind });
  const jwk = privateKey.export({ format: "jwk" });
  const part = (name: "x" | "y" | "n" | "e") => Buffer.from(jwk[name] ?? "", "base64url");
  const curve = `nistp${kind.slice(2)}`;
  const [type, ...fields] =
    kind === "ed25519"
      ? ["ssh-ed25519", part("x")]
      : kind === "rsa"
        ? ["ssh-rsa", part("e"), Buffer.concat([Buffer.alloc(1), part("n")])]
        : [`ecdsa-sha2-${curve}`, curve, Buffer.concat([Buffer.from([4]), part("x"), part("y")])];
  const blob = wire(String(type), ...fields);
  const hashes = { ed25519: undefined, rsa: "sha512", "P-256": "sha256", "P-384": "sha384", "P-521": "sha512" };
  return {
    line: `${type} ${blob.toString("base64")} a comment`,
    blob,
    type: String(type),
    privateKey,
    hash: hashes[kind],
  };
}

test("a password that was right a moment ago isn't hashed again, unless its time would tell something", async () => {
  const passwordHash = await hashPassword(secret);
  const config = configOf([{ name: "alice", passwordHash }]);
  const verifier = createVerifier({ config });
  assert.equal(reason(await verifier.password("alice", secret, client)), "accepted");
  const disableDuring = async (check: Promise<Verdict>) => {
    config.set([{ name: "alice", passwordHash, enabled: false }]);
    const verdict = reason(await check);
    config.set([{ name: "alice", passwordHash }]);
    return verdict;
  };
  // Nothing is waited for: the account is judged as it was when the check began.
  assert.equal(await disableDuring(verifier.password("alice", secret, client)), "accepted");
  const evenTime = { evenTime: true };
  assert.equal(await disableDuring(verifier.password("alice", secret, client, evenTime)), "account disabled");
  assert.equal(reason(await verifier.password("alice", Buffer.from("wrong"), client)), "wrong password");
});

test("each of an account's keys logs in with its own signature, and nothing else does", async () => {
  const keys = (["ed25519", "rsa", "P-256", "P-384", "P-521"] as const).map(userKey);
  const publicKeys = [...keys.map((key) => key.line), "ssh-ed25519 AAAA broken"];
  const faults: string[] = [];
  const logger = loggerWith({ warn: (message) => void faults.push(message) });
  const config = configOf([
    { name: "alice", publicKeys },
    { name: "off", enabled: false, publicKeys },
  ]);
  const verifier = createVerifier({ config, logger });
  const signed = Buffer.from("session id and request");
  for (const { type, blob, privateKey, hash } of keys) {
    const asked = {
      algorithm: type,
      blob,
      ...(type === "ssh-rsa" && hash !== undefined ? { hashAlgorithm: hash } : {}),
    };
    const signature = sign(hash, signed, privateKey);
    const check = async (name: string, more: object) =>
      reason(await verifier.publicKey(name, { ...asked, ...more }, client));
    assert.equal(await check("alice", {}), "accepted", `query ${type}`);
    assert.equal(await check("alice", { signature, signed }), "accepted", `signature ${type}`);
    assert.equal(await check("alice", { signature, signed: Buffer.from("another session") }), "wrong signature");
    assert.equal(await check("alice", { signature: Buffer.from("junk"), signed }), "wrong signature");
    assert.equal(await check("alice", { signature: Buffer.alloc(0), signed }), "wrong signature");
    assert.equal(await check("alice", { signature }), "wrong signature");
    assert.equal(await check("off", { signature, signed }), "account disabled");
    assert.equal(await check("nobody", { signature, signed }), "unknown account");
    assert.match(await check("alice", { algorithm: "ssh-dss" }), /not ssh-dss/);
  }
  const stranger = { algorithm: "ssh-ed25519", blob: userKey("ed25519").blob };
  assert.equal(reason(await verifier.publicKey("alice", stranger, client)), "the key is none of the account's");
  assert.equal(faults.length, 1, "the broken line was told once, not at each login");
});

test("an RSA signature whose leading zero was left out is taken", () => {
  const { line, privateKey } = userKey("rsa");
  const key = parsePublicKey(line);
  for (let i = 0; i < 4_000; i++) {
    const data = Buffer.from(`try ${i}`);
    const signature = sign("sha256", data, privateKey);
    if (signature[0] !== 0) continue;
    assert.ok(key.verify(data, signature.subarray(1), "sha256"));
    return;
  }
  assert.fail("no signature of 4,000 began with a zero");
});

test("RSA with SHA-1 needs the legacy switch", async () => {
  const { line, blob, privateKey } = userKey("rsa");
  const signed = Buffer.from("data");
  const asked = { algorithm: "ssh-rsa", blob, signature: sign("sha1", signed, privateKey), signed };
  const modern = createVerifier({ config: configOf([{ name: "alice", publicKeys: [line] }]) });
  const legacy = createVerifier({ config: configOf([{ name: "alice", publicKeys: [line] }], true) });
  assert.match(reason(await modern.publicKey("alice", asked, client)), /legacyAlgorithms/);
  assert.equal(reason(await legacy.publicKey("alice", asked, client)), "accepted");
});

test("fingerprints are those that ssh-keygen prints", async () => {
  for (const kind of ["ed25519", "rsa", "P-521"] as const) {
    const { line } = userKey(kind);
    const printed = execFileSync("ssh-keygen", ["-lf", "-"], { input: `${line}\n` }).toString();
    assert.equal(parsePublicKey(line).fingerprint, printed.split(" ")[1]);
    assert.equal(parsePublicKey(line).comment, "a comment");
  }
});

test("a line that is no plain public key says why", () => {
  const { line, blob } = userKey("ed25519");
  const lineOf = (type: string, ...fields: readonly (string | Buffer)[]) =>
    `${type} ${wire(type, ...fields).toString("base64")}`;
  assert.throws(() => parsePublicKey("-----BEGIN OPENSSH PRIVATE KEY-----"), /private key/);
  assert.throws(() => parsePublicKey(`from="10.0.0.1" ${line}`), /options/);
  assert.throws(() => parsePublicKey("sk-ssh-ed25519@openssh.com AAAA"), /starts with its type/);
  assert.throws(() => parsePublicKey(""), /public key/);
  assert.throws(() => parsePublicKey("ssh-ed25519 AAAA"), /isn't the ssh-ed25519/);
  assert.throws(() => parsePublicKey(`ssh-rsa ${blob.toString("base64")}`), /isn't the ssh-rsa/);
  assert.throws(() => parsePublicKey(lineOf("ssh-ed25519", Buffer.alloc(31))), /broken/);
  assert.throws(() => parsePublicKey(lineOf("ssh-ed25519", Buffer.alloc(32), "more")), /broken/);
  assert.throws(() => parsePublicKey(lineOf("ssh-dss", "p", "q")), /ssh-dss can't be used/);
  assert.throws(() => parsePublicKey(lineOf("ecdsa-sha2-nistp256", "nistp384", Buffer.alloc(97))), /can't be used/);
  const offCurve = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)]);
  assert.throws(() => parsePublicKey(lineOf("ecdsa-sha2-nistp256", "nistp256", offCurve)), /broken/);
  const short = Buffer.concat([Buffer.from([0, 0xff]), Buffer.alloc(63, 0xff)]);
  assert.throws(() => parsePublicKey(lineOf("ssh-rsa", Buffer.from([1, 0, 1]), short)), /RSA key of 512 bits/);
});

test("where no thread for passwords lives, logins are told to try again, and each cause is in the log once", async (t) => {
  const passwordHash = await hashPassword(secret);
  const causes: unknown[] = [];
  const logger = loggerWith({ error: (_, fields) => void causes.push(fields?.cause) });
  const verifier = createVerifier({ config: configOf([{ name: "alice", passwordHash }]), logger });
  const tryIt = async () => reason(await verifier.password("alice", Buffer.from("wrong"), client));
  t.after(() => spoilThreads(undefined));
  spoilThreads((thread) => void thread.terminate());
  await endThreads();
  for (let i = 0; i < 5; i += 1) assert.equal(await tryIt(), BUSY);
  assert.deepEqual(causes, ["Error: it exited"]);
  spoilThreads(starve);
  let busy = 0;
  // Its first task may be done before the memory is.
  for (let i = 0; i < 50 && busy < 3; i += 1) if ((await tryIt()) === BUSY) busy += 1;
  assert.equal(busy, 3);
  assert.equal(causes.length, 2, String(causes));
  assert.match(String(causes[1]), /OUT_OF_MEMORY/);
  spoilThreads(undefined);
  await endThreads();
  assert.equal(await tryIt(), "wrong password");
});
