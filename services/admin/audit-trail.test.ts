import assert from "node:assert/strict";
import { test } from "node:test";
import type Koa from "koa";
import type { Context } from "koa";
import type { AuditEntry, AuditSink } from "#audit/contract.js";
import { LongshoreError } from "#lib/errors.js";
import { auditTrail, noteChange } from "./audit-trail.js";
import { HttpError } from "./errors.js";

/** What the trail records of a request that `route` serves. */
async function recorded(
  request: { method: string; url: string; administrator?: unknown },
  route: (ctx: Context) => void | Promise<void>,
  sink: Partial<AuditSink> = {},
) {
  const entries: AuditEntry[] = [];
  const audit: AuditSink = {
    record: (entry) => void entries.push(entry),
    recordDurably: async (entry) => void entries.push(entry),
    ...sink,
  };
  const ctx = {
    ...request,
    path: request.url,
    ip: "192.0.2.9",
    status: 404,
    state: { administrator: request.administrator },
    response: { headers: {} as Record<string, string> },
  } as unknown as Context;
  let error: unknown;
  await Promise.resolve(auditTrail(audit)(ctx as Koa.ParameterizedContext, async () => await route(ctx))).catch(
    (caught: unknown) => {
      error = caught;
    },
  );
  return { entries, error };
}

test("a change is recorded before it is made and with its outcome, by its administrator, without its secrets", async () => {
  const order: string[] = [];
  const { entries } = await recorded(
    { method: "PUT", url: "/api/v1/accounts/ann", administrator: "root" },
    (ctx) => {
      order.push("made");
      ctx.status = 200;
      (ctx.response.headers as Record<string, string>).etag = '"42"';
      noteChange(ctx, { enabled: true, passwordHash: "old" }, { enabled: false, passwordHash: "new" });
    },
    {},
  );
  assert.deepEqual(
    entries.map(({ outcome }) => outcome),
    ["started", "ok"],
  );
  assert.deepEqual(order, ["made"]);
  const [, done] = entries;
  assert.deepEqual(
    [done?.kind, done?.what, done?.who, done?.client, done?.path],
    [...["admin", "put", "root", "192.0.2.9", "/api/v1/accounts/ann"]],
  );
  assert.deepEqual(done?.details, {
    status: 200,
    change: { before: { enabled: true, passwordHash: "***" }, after: { enabled: false, passwordHash: "***" } },
    revision: "42",
  });
});

test("what is refused or fails says so, and the client hears the same as without the record", async () => {
  const refusal = new HttpError(412, "Stale");
  const refused = await recorded({ method: "DELETE", url: "/api/v1/accounts/ann" }, () => {
    throw refusal;
  });
  assert.equal(refused.error, refusal);
  assert.deepEqual([refused.entries[1]?.outcome, refused.entries[1]?.details?.status], ["refused", 412]);
  const failed = await recorded({ method: "POST", url: "/api/v1/x" }, () => {
    throw new LongshoreError("unavailable", "no store");
  });
  assert.equal(failed.entries[1]?.outcome, "failed");
});

test("what can't be recorded isn't done", async () => {
  let made = false;
  const full = () => Promise.reject(new LongshoreError("unavailable", "full"));
  const { error } = await recorded(
    { method: "PUT", url: "/api/v1/site" },
    () => {
      made = true;
    },
    { recordDurably: full },
  );
  assert.equal(made, false);
  assert.ok(error instanceof HttpError && error.status === 503);
});

test("reading leaves no record, nor does what isn't the API", async () => {
  for (const [method, url] of [
    ["GET", "/api/v1/accounts"],
    ["HEAD", "/api/v1/site"],
    ["POST", "/metrics"],
  ] as const) {
    assert.deepEqual((await recorded({ method, url }, () => {})).entries, []);
  }
});
