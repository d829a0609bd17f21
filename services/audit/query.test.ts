import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { changeOf, MASKED } from "./mask.js";
import { auditQuerySchema, searchAudit } from "./query.js";
import { scratch, spoolIn } from "./testing.js";

const OTHER_ID = "0f8e7d6c-1111-4222-8333-444455557777";

test("records of all nodes come newest first, by what is asked for, at most so many", async (t) => {
  const site = scratch(t);
  const alpha = await spoolIn(join(site, "0f8e7d6c-1111-4222-8333-444455556666"), { segmentBytes: 700 });
  const beta = await spoolIn(join(site, OTHER_ID), { node: "beta" });
  for (let i = 0; i < 6; i += 1) {
    const spool = i % 2 === 0 ? alpha : beta;
    await spool.recordDurably({
      kind: "transfer",
      what: "upload",
      outcome: "complete",
      who: i < 3 ? "ann" : "bob",
      client: "192.0.2.1",
      path: i === 0 ? "/in/a" : `/inbox/${i}`,
    });
  }
  await alpha.close();
  await beta.close();
  const search = async (query: Record<string, unknown>) => await searchAudit(site, auditQuerySchema.parse(query));
  const all = await search({ kind: "transfer" });
  const times = all.records.map(({ time }) => time);
  assert.deepEqual(times, [...times].sort().reverse());
  assert.deepEqual([all.records.length, all.complete], [6, true]);
  assert.equal((await search({ account: "ann" })).records.length, 3);
  assert.equal((await search({ client: "192.0.2.1", node: "beta" })).records.length, 3);
  assert.deepEqual(
    (await search({ path: "/in" })).records.map(({ path }) => path),
    ["/in/a"],
  );
  const some = await search({ kind: "transfer", limit: 2 });
  assert.deepEqual([some.records.length, some.complete], [2, false]);
  assert.equal((await search({ since: "2100-01-01T00:00:00Z" })).records.length, 0);
  assert.equal((await search({ until: "2000-01-01T00:00:00Z" })).records.length, 0);
  assert.deepEqual(await searchAudit(join(site, "nothing"), auditQuerySchema.parse({})), {
    records: [],
    complete: true,
  });
});

test("what isn't asked in a known form is refused", () => {
  for (const query of [{ acount: "x" }, { kind: "logins" }, { since: "yesterday" }, { limit: "0" }, { limit: "x" }]) {
    assert.equal(auditQuerySchema.safeParse(query).success, false, JSON.stringify(query));
  }
});

test("a change shows the fields that differ, and of a secret only that it does", () => {
  const before = { name: "ann", enabled: true, passwordHash: "$argon2id$old", home: "a" };
  const after = {
    name: "ann",
    enabled: false,
    passwordHash: "$argon2id$new",
    home: "a",
    profile: { apiToken: "x", tokenFile: "/f" },
  };
  assert.deepEqual(changeOf(before, after), {
    before: { enabled: true, passwordHash: MASKED },
    after: { enabled: false, passwordHash: MASKED, profile: { apiToken: MASKED, tokenFile: "/f" } },
  });
  assert.deepEqual(changeOf(undefined, { hasPassword: true, password: "x" }), {
    before: null,
    after: { hasPassword: true, password: MASKED },
  });
});
