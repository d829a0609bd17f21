import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import ssh2 from "ssh2";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { type Account, accountSchema, siteSchema } from "#config/schema.js";
import type { Verdict } from "./contract.js";
import { hashPassword } from "./passwords.js";
import { parsePublicKey } from "./public-keys.js";
import { createVerifier } from "./verifier.js";

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
    site: siteSchema.parse({ id: "6f2c1a52-6f0b-4b2a-9a57-3a1f3a1f3a1f", name: "t", sftp: { legacyAlgorithms } }),
    accounts: new Map(
      of.map((entry): [string, Account] => [accountSchema.parse(entry).name, accountSchema.parse(entry)]),
    ),
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

test("an account that was disabled or changed during the check is not let in", async () => {
  const passwordHash = await hashPassword(secret);
  const config = configOf([{ name: "alice", passwordHash }]);
  const verifier = createVerifier({ config });
  const disabled = verifier.password("alice", secret, client);
  config.set([{ name: "alice", passwordHash, enabled: false }]);
  assert.equal(reason(await disabled), "account disabled");
  config.set([{ name: "alice", passwordHash }]);
  const changed = verifier.password("alice", secret, client);
  config.set([{ name: "alice", passwordHash: await hashPassword("other") }]);
  assert.equal(reason(await changed), "the password was changed during the check");
});

test("each of an account's keys logs in with its own signature, and nothing else does", async () => {
  const pairs = (["ed25519", "rsa", "ecdsa"] as const).map((kind) =>
    kind === "rsa"
      ? ssh2.utils.generateKeyPairSync(kind, { bits: 2048 })
      : kind === "ecdsa"
        ? ssh2.utils.generateKeyPairSync(kind, { bits: 256 })
        : ssh2.utils.generateKeyPairSync(kind),
  );
  const other = ssh2.utils.generateKeyPairSync("ed25519");
  const publicKeys = [...pairs.map((pair) => `${pair.public} alice@example`), "ssh-ed25519 AAAA broken"];
  const faults: string[] = [];
  const logger = {
    debug() {},
    info() {},
    error() {},
    child: () => logger,
    warn: (message: string) => faults.push(message),
  };
  const config = configOf([
    { name: "alice", publicKeys },
    { name: "off", enabled: false, publicKeys },
  ]);
  const verifier = createVerifier({ config, logger });
  const signed = Buffer.from("session id and request");
  for (const pair of pairs) {
    const key = ssh2.utils.parseKey(pair.private);
    assert.ok(!(key instanceof Error));
    const hashAlgorithm = key.type === "ssh-rsa" ? "sha512" : undefined;
    const asked = { algorithm: key.type, blob: key.getPublicSSH(), ...(hashAlgorithm && { hashAlgorithm }) };
    const signature = key.sign(signed, hashAlgorithm);
    assert.ok(Buffer.isBuffer(signature));
    const check = async (name: string, more: object) =>
      reason(await verifier.publicKey(name, { ...asked, ...more }, client));
    assert.equal(await check("alice", {}), "accepted", `query ${key.type}`);
    assert.equal(await check("alice", { signature, signed }), "accepted", `signature ${key.type}`);
    assert.equal(await check("alice", { signature, signed: Buffer.from("another session") }), "wrong signature");
    assert.equal(await check("alice", { signature: Buffer.from("junk"), signed }), "wrong signature");
    assert.equal(await check("alice", { signature }), "wrong signature");
    assert.equal(await check("off", { signature, signed }), "account disabled");
    assert.equal(await check("nobody", { signature, signed }), "unknown account");
    assert.match(await check("alice", { algorithm: "ssh-dss" }), /not ssh-dss/);
  }
  const stranger = parsePublicKey(other.public);
  assert.equal(stranger.type, "ssh-ed25519");
  const strange = ssh2.utils.parseKey(other.private);
  assert.ok(!(strange instanceof Error));
  const asked = { algorithm: "ssh-ed25519", blob: strange.getPublicSSH() };
  assert.equal(reason(await verifier.publicKey("alice", asked, client)), "the key is none of the account's");
  assert.equal(faults.length, 1, "the broken line was told once, not at each login");
});

test("RSA with SHA-1 needs the legacy switch", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = privateKey.export({ type: "pkcs1", format: "pem" }).toString();
  const key = ssh2.utils.parseKey(pem);
  assert.ok(!(key instanceof Error));
  const publicKeys = [`ssh-rsa ${key.getPublicSSH().toString("base64")}`];
  const signed = Buffer.from("data");
  const signature = sign("sha1", signed, createPrivateKey(pem));
  const asked = { algorithm: "ssh-rsa", blob: key.getPublicSSH(), signature, signed };
  const modern = createVerifier({ config: configOf([{ name: "alice", publicKeys }]) });
  const legacy = createVerifier({ config: configOf([{ name: "alice", publicKeys }], true) });
  assert.match(reason(await modern.publicKey("alice", asked, client)), /legacyAlgorithms/);
  assert.equal(reason(await legacy.publicKey("alice", asked, client)), "accepted");
});

test("a line that is no plain public key says why", () => {
  const { public: line, private: privateKey } = ssh2.utils.generateKeyPairSync("ed25519");
  assert.match(parsePublicKey(`${line} me`).fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
  assert.throws(() => parsePublicKey(privateKey), /private key/);
  assert.throws(() => parsePublicKey(`from="10.0.0.1" ${line}`), /options/);
  assert.throws(() => parsePublicKey("sk-ssh-ed25519@openssh.com AAAA"), /starts with its type/);
  assert.throws(() => parsePublicKey("ssh-ed25519 AAAA"), /unusable/);
  assert.throws(() => parsePublicKey(""), /public key/);
});
