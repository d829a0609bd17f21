import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditEntry } from "#audit/contract.js";
import { auditRecordSchema } from "#audit/contract.js";
import type { CommittedRecord } from "#commit/records.js";
import { LongshoreError } from "#lib/errors.js";
import { banRecords, changeRecord, commitJournal, transferRecord } from "./audit-observers.js";

const actor = { account: "ann", session: "s1", address: "192.0.2.1", protocol: "sftp" };
const record: CommittedRecord = {
  state: "COMMITTED",
  store: "main",
  effect: { kind: "upload", path: "ann/in/x" },
  actor: { ...actor, transfer: "s1-1", path: "/in/x" },
  node: "alpha",
  at: 1_800_000_000_000,
  inode: 7,
  size: 42,
};

test("a complete upload is told by whoever finishes it, and says who committed it where that was another", () => {
  const own = changeRecord("op-1", record, "alpha");
  assert.deepEqual(
    [own.kind, own.what, own.outcome, own.who, own.client, own.path, own.bytes, own.transfer, own.op],
    ["transfer", "upload", "complete", "ann", "192.0.2.1", "/in/x", 42, "s1-1", "op-1"],
  );
  assert.equal(own.details?.committedBy, undefined);
  assert.equal(changeRecord("op-1", record, "beta").details?.committedBy, "alpha");
});

test("a rename has both names as the client gave them, and as they lie on the storage", () => {
  const effect = { kind: "rename", from: "ann/a", path: "ann/b", replace: false } as const;
  const renamed = changeRecord("op-2", { ...record, effect, actor: { ...actor, path: "/a", target: "/b" } }, "alpha");
  assert.deepEqual([renamed.kind, renamed.what, renamed.path, renamed.target], ["file", "rename", "/a", "/b"]);
  assert.deepEqual([renamed.details?.stored, renamed.details?.storedAs], ["ann/a", "ann/b"]);
});

test("a record of an older node, which doesn't say how the client named it, has the place on the storage", () => {
  assert.equal(changeRecord("op-3", { ...record, actor }, "alpha").path, "/ann/in/x");
});

test("every other end of a transfer is told by its session; a complete upload isn't, or it would be there twice", () => {
  const ended = { id: "s1-2", actor, path: "/x", bytes: 5, seconds: 1, details: { error: "no space" } };
  assert.equal(transferRecord("upload", "complete", ended), undefined);
  for (const end of ["partial", "failed", "unknown"] as const) {
    assert.equal(transferRecord("upload", end, ended)?.outcome, end);
  }
  const download = transferRecord("download", "complete", ended);
  assert.deepEqual([download?.what, download?.bytes, download?.details?.error], ["download", 5, "no space"]);
});

test("a commit isn't held up for ever by a record that can't be written: it goes on, loudly", async () => {
  const errors: string[] = [];
  const entries: AuditEntry[] = [];
  const sink = {
    record() {},
    recordDurably(entry: AuditEntry) {
      entries.push(entry);
      return entries.length === 1 ? Promise.reject(new LongshoreError("unavailable", "full")) : Promise.resolve();
    },
  };
  const logger = {
    debug() {},
    info() {},
    warn() {},
    error: (text: string) => void errors.push(text),
    child: () => logger,
  };
  const changes = ["op-1", "op-2"].map((id) => ({ id, record }));
  await commitJournal(sink, "alpha", logger).record(changes);
  assert.equal(entries.length, 2);
  assert.equal(errors.length, 1);
  assert.ok(auditRecordSchema.shape.kind.safeParse(entries[0]?.kind).success);
});

test("a ban names the address, a lockout the account", () => {
  const entries: AuditEntry[] = [];
  const counted: string[] = [];
  const sink = { record: (entry: AuditEntry) => void entries.push(entry), recordDurably: () => Promise.resolve() };
  const imposed = banRecords(sink, (what) => counted.push(what));
  imposed("ban", "192.0.2.1", { level: 1 });
  imposed("lockout", "ann", { level: 2 });
  assert.deepEqual(counted, ["ban", "lockout"]);
  assert.deepEqual(
    entries.map(({ kind, what, client, who, details }) => [kind, what, client, who, details?.level]),
    [
      ["ban", "ban", "192.0.2.1", undefined, 1],
      ["ban", "lockout", undefined, "ann", 2],
    ],
  );
});
