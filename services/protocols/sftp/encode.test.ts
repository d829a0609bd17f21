import assert from "node:assert/strict";
import { test } from "node:test";
import { LongshoreError } from "#lib/errors.js";
import type { Attributes } from "#sessions/contract.js";
import { attributesReply, limitsReply, ownersReply, pathReply, versionReply, volumeReply } from "./encode.js";
import { HandleTable, OpenDirectory } from "./handles.js";
import { fitReply } from "./lister.js";
import { longName } from "./longname.js";
import { groupOf } from "./reader.js";
import { statusOf } from "./status.js";

const FILE: Attributes = {
  type: "file",
  size: 2 ** 33 + 5,
  mode: 0o4755,
  uid: 0,
  gid: 0,
  atime: 1,
  mtime: 1_700_000_000,
  links: 1,
};

test("VERSION is 3 and names the extensions with their versions", () => {
  const reply = versionReply();
  assert.equal(reply.readUInt32BE(0), reply.length - 4);
  assert.equal(reply.readUInt32BE(5), 3);
  const strings: string[] = [];
  for (let at = 9; at < reply.length; at += 4 + reply.readUInt32BE(at)) {
    strings.push(reply.toString("utf8", at + 4, at + 4 + reply.readUInt32BE(at)));
  }
  assert.equal(strings.length, 22);
  assert.equal(strings[strings.indexOf("statvfs@openssh.com") + 1], "2");
  assert.equal(strings[strings.indexOf("limits@openssh.com") + 1], "1");
});

test("limits are four 64-bit numbers, none of them 0", () => {
  const reply = limitsReply(7, 256);
  assert.equal(reply[4], 201);
  const numbers = [9, 17, 25, 33].map((at) => Number(reply.readBigUInt64BE(at)));
  assert.deepEqual(numbers, [262_144, 261_120, 261_120, 256]);
});

test("attributes carry sizes past 32 bits and the type in the mode", () => {
  const reply = attributesReply(1, FILE);
  assert.equal(reply.readUInt32BE(0), reply.length - 4);
  assert.equal(Number(reply.readBigUInt64BE(13)), FILE.size);
  assert.equal(reply.readUInt32BE(29), 0o104755);
});

test("a path with more bytes than letters is measured in bytes", () => {
  const reply = pathReply(1, "/größe/日本");
  assert.equal(reply.readUInt32BE(0), reply.length - 4);
  assert.equal(reply.toString("utf8", 17, 17 + reply.readUInt32BE(13)), "/größe/日本");
});

test("statvfs has eleven numbers", () => {
  const volume = { blockSize: 4096, blocks: 10, freeBlocks: 9, availableBlocks: 8, files: 7, freeFiles: 6 };
  const reply = volumeReply(1, { ...volume, fileSystemId: 5, readOnly: true, maxNameLength: 255 });
  assert.equal(reply.length, 9 + 88);
  assert.equal(Number(reply.readBigUInt64BE(9 + 72)) & 1, 1);
});

test("names of owners are packed strings within a string", () => {
  const reply = ownersReply(1, "alice", 2, 1);
  assert.equal(reply.readUInt32BE(0), reply.length - 4);
  assert.equal(reply.readUInt32BE(9), 18);
  assert.equal(reply.toString("utf8", 17, 22), "alice");
});

test("longname is laid out like OpenSSH's", () => {
  const now = 1_700_003_600;
  assert.equal(
    longName("a b", { ...FILE, size: 12 }, "alice", now),
    "-rwsr-xr-x    1 alice    alice          12 Nov 14 22:13 a b",
  );
  const old = { ...FILE, type: "directory" as const, mode: 0o1777, mtime: 86_400 };
  assert.match(longName("d", old, "alice", now), /^drwxrwxrwt .* Jan {2}2 {2}1970 d$/);
});

test("each code of ours has its SFTP status, with the decision table's exceptions for OPEN and CLOSE", () => {
  const code = (error: LongshoreError, request: "open" | "close" | "rename" = "rename") =>
    statusOf(error, request).code;
  assert.equal(code(new LongshoreError("not-found", "x")), 2);
  assert.equal(code(new LongshoreError("not-a-directory", "x")), 2);
  assert.equal(code(new LongshoreError("permission-denied", "x")), 3);
  assert.equal(code(new LongshoreError("exists", "x")), 4);
  assert.equal(code(new LongshoreError("name-too-long", "x")), 5);
  assert.equal(code(new LongshoreError("unsupported", "x")), 8);
  assert.equal(code(new LongshoreError("incomplete-upload", "x")), 4);
  assert.equal(code(new LongshoreError("incomplete-upload", "x"), "open"), 3);
  assert.equal(code(new LongshoreError("invalid-argument", "x")), 5);
  assert.equal(code(new LongshoreError("invalid-argument", "x"), "close"), 4);
});

test("a system error's message, with the server's path in it, never reaches the client", () => {
  const error = Object.assign(new Error("ENOENT: no such file, open '/srv/secret/x'"), { code: "ENOENT" });
  assert.deepEqual(statusOf(error, "open"), { code: 2, message: "request failed: ENOENT", unexpected: true });
  assert.equal(statusOf(new LongshoreError("io", "a\u001b[2Jb"), "open").message, "a [2Jb");
});

test("handles: the cap counts what is being opened and closed, and a stale handle names nothing", () => {
  const table = new HandleTable(2);
  const directory = () => new OpenDirectory({ next: async () => [], close: async () => {} });
  assert.ok(table.take());
  assert.ok(table.take());
  assert.equal(table.take(), false);
  const first = table.add(directory());
  assert.ok(table.remove(first));
  assert.equal(table.take(), false);
  table.release();
  assert.ok(table.take());
  const second = table.add(directory());
  assert.notEqual(second, first);
  assert.equal(table.get(first), undefined);
  assert.equal(table.get(0), undefined);
});

test("READDIR replies stay under what old clients take, and one long entry still goes", () => {
  const entries = Array.from({ length: 128 }, (_, index) => ({ name: `${index}${"ü".repeat(120)}`, attributes: FILE }));
  const { names, bytes } = fitReply(entries, "alice", 0);
  assert.ok(names.length > 1 && names.length < 128);
  assert.ok(bytes <= 30_000);
  assert.equal(fitReply([{ name: "x".repeat(40_000), attributes: FILE }], "alice", 0).names.length, 1);
});

test("only READs that touch are read together, up to a slab", () => {
  const read = (offset: number, length: number) => ({ id: offset, offset, length });
  assert.equal(groupOf([]), 0);
  assert.equal(groupOf([read(0, 10), read(10, 5), read(15, 1), read(17, 1)]), 3);
  assert.equal(groupOf([read(10, 10), read(0, 10)]), 1);
  const whole = Array.from({ length: 8 }, (_, index) => read(index * 261_120, 261_120));
  assert.equal(groupOf(whole), 4);
  assert.equal(groupOf(Array.from({ length: 100 }, (_, index) => read(index, 1))), 64);
});
