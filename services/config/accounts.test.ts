import assert from "node:assert/strict";
import { test } from "node:test";
import { validateAccount } from "./accounts.js";
import { InvalidConfigError } from "./errors.js";
import { publicKeyFault } from "./public-key.js";

const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEo6YcGBhqzfKlPv2uQvvzGz1W8y4p6G0k3o1o0m8m3Q ann@host";

function faultsIn(input: unknown): readonly string[] {
  try {
    validateAccount(input);
    return [];
  } catch (error) {
    assert.ok(error instanceof InvalidConfigError);
    return error.faults.map((fault) => fault.path);
  }
}

test("an account needs no more than its name", () => {
  const account = validateAccount({ name: "ann" });
  assert.equal(account.enabled, true);
  assert.equal(account.permissions, undefined);
  assert.deepEqual(account.groups, []);
});

test("each fault is named with its path", () => {
  assert.deepEqual(
    faultsIn({
      name: "-x",
      home: "../x",
      passwordHash: "plain",
      permissions: [
        { path: "/", allow: ["list"] },
        { path: "a", allow: ["fly"] },
      ],
    }).toSorted(),
    ["home", "name", "passwordHash", "permissions.1.allow.0", "permissions.1.path"],
  );
  assert.deepEqual(faultsIn({ name: "ann", publicKeys: [ED25519, "ssh-dss AAAA"] }), ["publicKeys.1"]);
  assert.deepEqual(faultsIn({ name: "ann", shell: "x" }), [""]);
});

test("a public key that could never log in is refused with its reason", () => {
  assert.equal(publicKeyFault(ED25519), undefined);
  assert.equal(publicKeyFault(ED25519.split(" ").slice(0, 2).join(" ")), undefined);
  assert.match(publicKeyFault("") ?? "", /one OpenSSH public key line/);
  assert.match(publicKeyFault(`${ED25519}\n${ED25519}`) ?? "", /one OpenSSH public key line/);
  assert.match(publicKeyFault(`command="x" ${ED25519}`) ?? "", /without options/);
  assert.match(publicKeyFault(ED25519.replace("ssh-ed25519", "ssh-rsa")) ?? "", /first word/);
  assert.match(publicKeyFault("ssh-ed25519 AAAA") ?? "", /cut short/);
  assert.match(publicKeyFault("sk-ssh-ed25519@openssh.com AAAA") ?? "", /can't be used/);
});
