import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import type { NodeIdentity } from "./contract.js";
import { nameClaim, planRegistration, type RegistrationSituation, registration } from "./registration.js";

const identity: NodeIdentity = {
  id: "0f8e7d6c-1111-4222-8333-444455556666",
  name: "alpha",
  slot: 1,
  labels: {},
  version: "1",
  addresses: {},
};

function claim(key: string, holder: Partial<{ id: string; name: string; slot: number; incarnation: string }>): Entry {
  const whole = { id: identity.id, name: "alpha", slot: 1, incarnation: "former", ...holder };
  return { key, value: JSON.stringify(whole), createRevision: 4, modRevision: 7 };
}

const nobody: RegistrationSituation = {
  identity,
  held: [undefined, undefined, undefined],
  statusOf: () => "unknown",
  ours: new Set(),
  first: true,
};
const former = [claim(keys.node(identity.id), {}), claim(keys.slot(1), {}), claim(nameClaim("alpha"), {})];

test("free claims are taken if they are still free", () => {
  const plan = planRegistration(nobody);
  assert.ok(plan.register);
  assert.deepEqual(
    plan.compare.map((each) => "is" in each && each.is),
    ["absent", "absent", "absent"],
  );
  const { apply } = registration(identity, "new", "lease-1", "{}", plan);
  assert.ok(apply.every((operation) => "put" in operation && operation.lease === "lease-1"));
});

test("another node's slot or name is never taken, and the setting to change is named", () => {
  const slot = planRegistration({
    ...nobody,
    held: [undefined, claim(keys.slot(1), { id: "other", name: "beta" }), undefined],
  });
  assert.ok(!slot.register);
  assert.match(slot.conflict, /slot 1 belongs to another node, "beta".*"slot"/);
  const name = planRegistration({
    ...nobody,
    held: [undefined, undefined, claim(nameClaim("alpha"), { id: "other", slot: 2 })],
  });
  assert.ok(!name.register);
  assert.match(name.conflict, /name "alpha" belongs to another node.*slot 2.*"name"/);
});

test("a restarted node takes over from its former process, and attests its death where it is certain", () => {
  const gone = planRegistration({ ...nobody, held: former, statusOf: () => "gone" });
  assert.ok(gone.register);
  assert.deepEqual(gone.deadOwners, ["former"]);
  assert.ok(gone.compare.every((each) => "is" in each && each.is === "modified-at" && each.revision === 7));
  const { apply } = registration(identity, "new", "l", "{}", gone);
  assert.deepEqual(apply.at(-1), { delete: keys.owner("former") });

  const elsewhere = planRegistration({ ...nobody, held: former, statusOf: () => "unknown" });
  assert.ok(elsewhere.register);
  assert.deepEqual(elsewhere.deadOwners, []);
});

test("a process that lives under this id is not taken over from", () => {
  const plan = planRegistration({ ...nobody, held: former, statusOf: () => "alive" });
  assert.ok(!plan.register);
  assert.match(plan.conflict, /already runs.*node-id/);
});

test("a process that lost its lease takes back its own claims, but not from one that took over", () => {
  assert.ok(planRegistration({ ...nobody, held: former, first: false, ours: new Set(["former"]) }).register);
  assert.ok(!planRegistration({ ...nobody, held: former, first: false }).register);
});
