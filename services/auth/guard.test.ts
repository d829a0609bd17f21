import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accountSchema, siteSchema } from "#config/schema.js";
import { monotonicMs } from "#lib/clock.js";
import type { Verdict, Verifier } from "./contract.js";
import { createGuard } from "./guard.js";
import type { Security } from "./security.js";
import { BUSY } from "./verifier.js";

// Timers of ours keep no process alive.
const awake = setInterval(() => {}, 1_000);
after(() => clearInterval(awake));

const HOME = "192.0.2.1";
const STRANGE = "198.51.100.1";

interface World {
  banned?: string;
  lockedOut?: string;
  known?: boolean;
  failures?: number;
  verdict?: "wrong" | "busy";
  security?: object;
  account?: object;
  rules?: object;
}

function guarded(world: World) {
  const account = accountSchema.parse({ name: "ann", ...world.account });
  const site = siteSchema.parse({
    id: "6f2c1a52-6f0b-4b2a-9a57-3a1f3a1f3a1f",
    name: "test",
    security: { throttle: { firstMs: 60, mostMs: 60 }, ...world.security },
    addressRules: world.rules ?? {},
  });
  const snapshot = {
    revision: 1,
    hash: "",
    site,
    accounts: new Map([["ann", account]]),
    hostKeys: [],
    groups: new Map(),
  };
  const failed: string[] = [];
  const refusals: string[] = [];
  const remembered: string[] = [];
  let throttled = 0;
  let checks = 0;
  const record = { subject: "", at: 0, until: null, level: 1, by: "administrator", reason: "" } as const;
  const security: Pick<Security, "bannedBy" | "lockoutOf" | "failures" | "isProtected" | "failed"> = {
    bannedBy: (address) => (address === world.banned ? record : undefined),
    lockoutOf: (name) => (name === world.lockedOut ? record : undefined),
    failures: () => ({ ofAddress: 0, ofAccount: world.failures ?? 0 }),
    isProtected: () => false,
    failed: (address, name) => void failed.push(`${address} ${name ?? "-"}`),
  };
  const verdict = (): Verdict => {
    checks++;
    if (world.verdict === "busy") return { accepted: false, reason: BUSY };
    if (world.verdict === "wrong") return { accepted: false, reason: "wrong password" };
    return { accepted: true, account, method: "password" };
  };
  const evenTimes: (boolean | undefined)[] = [];
  const verifier: Verifier = {
    async password(_account, _password, _client, options) {
      evenTimes.push(options?.evenTime);
      return verdict();
    },
    publicKey: async () => verdict(),
  };
  const guard = createGuard({
    config: { snapshot: () => snapshot },
    verifier,
    security: security as Security,
    known: {
      isKnown: async () => world.known ?? false,
      isKnownHere: () => world.known ?? false,
      remember: (name, address) => void remembered.push(`${name} ${address}`),
    },
    observer: {
      loginRefused: (reason) => void refusals.push(reason),
      loginThrottled: () => void throttled++,
      imposed() {},
      countersFlushed() {},
    },
  });
  const client = (address: string) => ({ address, protocol: "sftp" as const });
  return {
    guard,
    failed,
    refusals,
    remembered,
    evenTimes,
    throttled: () => throttled,
    checks: () => checks,
    password: (address = HOME, name = "ann") => guard.verifier.password(name, Buffer.from("x"), client(address)),
    key: (address: string, signature?: Buffer) =>
      guard.verifier.publicKey(
        "ann",
        { algorithm: "x", blob: Buffer.alloc(1), ...(signature && { signature }) },
        client(address),
      ),
  };
}

test("a right login is remembered by its address; nothing is counted", async () => {
  const { password, remembered, failed, refusals } = guarded({});
  assert.equal((await password()).accepted, true);
  assert.deepEqual([remembered, failed, refusals], [[`ann ${HOME}`], [], []]);
});

test("a wrong password counts for the address and the account; a name that can't be one counts for the address alone", async () => {
  const { password, failed, refusals } = guarded({ verdict: "wrong" });
  await password(STRANGE);
  await password(STRANGE, "nobody");
  await password(STRANGE, "../../etc");
  assert.deepEqual(failed, [`${STRANGE} ann`, `${STRANGE} nobody`, `${STRANGE} -`]);
  assert.deepEqual(refusals, ["credential", "credential", "credential"]);
});

test("a check that wasn't made for lack of time counts for nobody", async () => {
  const { password, failed, refusals } = guarded({ verdict: "busy" });
  assert.deepEqual(await password(), { accepted: false, reason: BUSY });
  assert.deepEqual([failed, refusals], [[], ["busy"]]);
});

test("a banned address gets no check any more, on connections that it had open", async () => {
  const { guard, password, key, checks } = guarded({ banned: STRANGE });
  assert.equal(guard.refusal(STRANGE), "banned");
  assert.equal(guard.refusal(HOME), undefined);
  assert.equal((await password(STRANGE)).accepted, false);
  assert.equal((await key(STRANGE, Buffer.alloc(1))).accepted, false);
  assert.equal(checks(), 0);
});

test("a lockout refuses strangers even the right password, at the price of a check; known addresses and keys go on", async () => {
  const stranger = guarded({ lockedOut: "ann" });
  assert.equal((await stranger.password(STRANGE)).accepted, false);
  assert.equal(stranger.checks(), 1, "the time must not tell that the account is locked");
  assert.deepEqual(stranger.evenTimes, [true], "nor that the password is right");
  assert.deepEqual(stranger.refusals, ["locked-out"]);
  assert.deepEqual(
    stranger.failed,
    [`${STRANGE} -`],
    "the guess counts for the address, the account is locked already",
  );
  assert.equal((await guarded({ lockedOut: "ann", known: true }).password()).accepted, true);
  assert.equal((await guarded({ lockedOut: "ann" }).key(STRANGE, Buffer.alloc(1))).accepted, true);
});

test("an account's allowedAddresses hold for passwords and keys; a right login from elsewhere is no guess", async () => {
  const { password, key, failed, refusals } = guarded({ account: { allowedAddresses: ["192.0.2.0/28"] } });
  assert.equal((await password(HOME)).accepted, true);
  assert.equal((await password(STRANGE)).accepted, false);
  assert.equal((await key(STRANGE, Buffer.alloc(1))).accepted, false);
  assert.deepEqual([failed, refusals], [[], ["address", "address"]]);
});

test("a query for a key is neither counted nor refused here", async () => {
  const { key, failed } = guarded({ banned: STRANGE, verdict: "wrong" });
  await key(HOME);
  assert.deepEqual(failed, []);
});

test("after many failures a check waits; who logged in here before doesn't", async () => {
  const slow = guarded({ failures: 5 });
  const from = monotonicMs();
  assert.equal((await slow.password()).accepted, true);
  assert.ok(monotonicMs() - from >= 55);
  assert.equal(slow.throttled(), 1);
  const known = guarded({ failures: 5, known: true });
  await known.password();
  assert.equal(known.throttled(), 0);
});

test("only so many wait at once: the others are turned away at no cost", async () => {
  const { password, checks, refusals } = guarded({ failures: 5 });
  const verdicts = await Promise.all(Array.from({ length: 1_000 }, () => password()));
  assert.equal(verdicts.filter(({ accepted }) => accepted).length, 256);
  assert.equal(checks(), 256);
  assert.equal(refusals.filter((reason) => reason === "busy").length, 744);
});

test("address rules: deny wins, and with an allow list everybody else is denied", () => {
  const { guard } = guarded({ rules: { allow: ["192.0.2.0/24", "2001:db8::/32"], deny: ["192.0.2.128/25"] } });
  assert.equal(guard.refusal("192.0.2.1"), undefined);
  assert.equal(guard.refusal("::ffff:192.0.2.1"), undefined);
  assert.equal(guard.refusal("192.0.2.129"), "denied");
  assert.equal(guard.refusal("2001:db8::1"), undefined);
  assert.equal(guard.refusal("2001:db9::1"), "denied");
  assert.equal(guard.refusal("not an address"), "denied");
});
