import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import type { Credential } from "#config/credential.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { parsePublicKey } from "./public-keys.js";
import { reasonToEnd } from "./revocation.js";

const NOW = Date.parse("2030-01-01T00:00:00Z");
const field = (data: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, data.length]), data]);
const line = (comment: string) => {
  const { x = "" } = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" });
  const blob = Buffer.concat([field(Buffer.from("ssh-ed25519")), field(Buffer.from(x, "base64url"))]);
  return `ssh-ed25519 ${blob.toString("base64")} ${comment}`;
};
const [mine, other] = [line("mine"), line("other")];
const byPassword: Credential = { kind: "password", hash: "$argon2id$one" };
const byKey: Credential = { kind: "public-key", blob: parsePublicKey(mine).blob };

function reason(
  account: object | undefined,
  credential: Credential | undefined,
  rules: object = {},
): string | undefined {
  const site = siteSchema.parse({ id: "6f2c1a52-6f0b-4b2a-9a57-3a1f3a1f3a1f", name: "t", addressRules: rules });
  const accounts = account === undefined ? [] : [accountSchema.parse({ name: "ann", ...account })];
  const snapshot = {
    revision: 1,
    hash: "",
    site,
    accounts: new Map(accounts.map((one) => [one.name, one])),
    hostKeys: [],
    groups: new Map(),
  };
  return reasonToEnd({ account: "ann", address: "192.0.2.1", credential }, snapshot, NOW);
}

const whole = { passwordHash: "$argon2id$one", publicKeys: [other, mine] };

test("nothing speaks against a session whose account is as it was, or was edited elsewhere", () => {
  for (const credential of [byPassword, byKey, undefined]) {
    assert.equal(reason(whole, credential), undefined);
    assert.equal(reason({ ...whole, description: "new", permissions: [] }, credential), undefined);
  }
  assert.equal(reason({ ...whole, expiresAt: "2030-01-01T00:00:01Z" }, byKey), undefined);
  assert.equal(reason({ ...whole, allowedAddresses: ["192.0.2.0/24"] }, byKey), undefined);
});

test("each thing that takes its ground away ends it", () => {
  for (const credential of [byPassword, byKey, undefined]) {
    assert.match(reason(undefined, credential) ?? "", /removed/);
    assert.match(reason({ ...whole, enabled: false }, credential) ?? "", /disabled/);
    assert.match(reason({ ...whole, expiresAt: "2030-01-01T00:00:00Z" }, credential) ?? "", /expired/);
    assert.match(reason({ ...whole, expiresAt: "2030-01-01T01:00:00+02:00" }, credential) ?? "", /expired/);
    assert.match(reason({ ...whole, allowedAddresses: ["192.0.2.2"] }, credential) ?? "", /address/);
    assert.match(reason(whole, credential, { deny: ["192.0.2.0/31"] }) ?? "", /denied/);
    assert.match(reason(whole, credential, { allow: ["10.0.0.0/8"] }) ?? "", /denied/);
  }
});

test("the credential that it was opened with is the one that counts", () => {
  assert.match(reason({ ...whole, passwordHash: "$argon2id$two" }, byPassword) ?? "", /password/);
  assert.match(reason({ publicKeys: [mine] }, byPassword) ?? "", /password/);
  assert.equal(reason({ ...whole, passwordHash: "$argon2id$two" }, byKey), undefined);
  assert.match(reason({ ...whole, publicKeys: [other] }, byKey) ?? "", /key/);
  assert.equal(reason({ ...whole, publicKeys: [] }, byPassword), undefined);
  // The same key with another comment, or none.
  assert.equal(reason({ publicKeys: [mine.replace("mine", "renamed")] }, byKey), undefined);
});
