import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { groupSchema } from "#config/entries.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import { LongshoreError } from "#lib/errors.js";
import type { Session } from "#sessions/contract.js";
import { keepAwake } from "../cluster/fixture.js";
import { createWorld, intent, type TestNode, type World, write } from "./fixture.js";

keepAwake();

/** Sessions over real files, with a configuration that the test changes as an administrator would. */
async function site(alice: object, ...groups: object[]) {
  const snapshots: { now?: Snapshot } = {};
  const set = (fields: object, ...of: object[]) => {
    const before = snapshots.now as Snapshot;
    const account = accountSchema.parse({ name: "alice", ...fields });
    snapshots.now = {
      ...before,
      accounts: new Map([["alice", account]]),
      groups: new Map(of.map((each) => groupSchema.parse(each)).map((each) => [each.name, each])),
    };
  };
  const configOf = (siteId: string): ConfigView => {
    const settings = siteSchema.parse({ id: siteId, name: "test" });
    snapshots.now = { revision: 1, hash: "", ...noEntries(), site: settings, hostKeys: [] };
    set(alice, ...groups);
    return { snapshot: () => snapshots.now as Snapshot, onChange: () => () => {} };
  };
  const world: World = await createWorld(true, configOf);
  const node: TestNode = await world.node();
  return { root: world.root, session: node.session(), node, set };
}

async function put(session: Session, path: string, text: string): Promise<void> {
  const handle = await session.open(path, intent.put);
  await write(handle, 0, text);
  await handle.close();
}

async function names(session: Session, path: string): Promise<string[]> {
  const directory = await session.openDirectory(path);
  return (await directory.next(100)).map(({ name }) => name).sort();
}

const code = (expected: string) => (error: unknown) => error instanceof LongshoreError && error.code === expected;

test("a folder shows in its parent's listing, and what is put into it lies in its target", async () => {
  const { root, session } = await site({ folders: [{ path: "/shared/in", target: "common/in" }] });
  await put(session, "/own.txt", "own");
  await put(session, "/shared/in/f.txt", "shared");
  assert.equal(await readFile(join(root, "common/in/f.txt"), "utf8"), "shared");
  assert.deepEqual(await names(session, "/"), ["own.txt", "shared"]);
  assert.deepEqual(await names(session, "/shared"), ["in"]);
  assert.deepEqual(await names(session, "/shared/in"), ["f.txt"]);
  assert.equal((await session.stat("/shared", true)).type, "directory");
  assert.equal((await session.stat("/shared/in", false)).type, "directory");
  assert.deepEqual(await readdir(join(root, "alice")), ["own.txt"], "nothing is made in the home for it");
  await assert.rejects(session.stat("/shared/in/../../../common", true), code("not-found"));
  await assert.rejects(session.stat("/shared/inn", true), code("not-found"));
});

test("what the home has under a folder's name is hidden, and reached by no spelling", async () => {
  const { root, session } = await site({ folders: [{ path: "/a", target: "x" }] });
  await mkdir(join(root, "alice/a"), { recursive: true });
  await writeFile(join(root, "alice/a/hidden"), "h");
  assert.deepEqual(await names(session, "/a"), []);
  for (const path of ["/a/hidden", "//a/./hidden", "/a/../a/hidden", "/b/../a/hidden"]) {
    await assert.rejects(session.stat(path, true), code("not-found"), path);
  }
});

test("a folder's own permissions count in it, the account's outside, and a longer rule of the account's inside", async () => {
  const { root, session } = await site({
    permissions: [
      { path: "/", allow: ["list", "read"] },
      { path: "/drop/late", allow: ["list"] },
    ],
    folders: [{ path: "/drop", target: "drop", allow: ["list", "write"] }],
  });
  await mkdir(join(root, "drop/late"), { recursive: true });
  await assert.rejects(put(session, "/f", "x"), code("permission-denied"));
  await assert.rejects(put(session, "/drop/late/f", "x"), code("permission-denied"));
  await put(session, "/drop/f", "x");
  await assert.rejects(session.open("/drop/f", intent.read), code("permission-denied"));
  await assert.rejects(session.remove("/drop/f"), code("permission-denied"));
  await assert.rejects(put(session, "/dropped", "x"), code("permission-denied"), "/dropped isn't in /drop");
});

test("the folder itself, and what is above it, can't be removed, renamed, made or written over", async () => {
  const { session } = await site({ folders: [{ path: "/a/m", target: "x" }] });
  await put(session, "/f", "x");
  for (const path of ["/a", "/a/m", "/a/m/../m"]) {
    await assert.rejects(session.remove(path), code("permission-denied"), path);
    await assert.rejects(session.removeDirectory(path), code("permission-denied"), path);
    await assert.rejects(session.rename(path, "/b", true), code("permission-denied"), path);
    await assert.rejects(session.rename("/f", path, true), code("permission-denied"), path);
    await assert.rejects(session.makeDirectory(path, {}), code("exists"), path);
    await assert.rejects(session.open(path, intent.put), code("is-a-directory"), path);
  }
  await assert.rejects(session.makeDirectory("/", {}), LongshoreError);
});

test("files move between folder and home; directories and hard links don't", async () => {
  const { root, session } = await site({ folders: [{ path: "/m", target: "x" }] });
  await put(session, "/f", "moved");
  await session.rename("/f", "/m/g", false);
  assert.equal(await readFile(join(root, "x/g"), "utf8"), "moved");
  await session.rename("/m/g", "/back", false);
  assert.equal(await readFile(join(root, "alice/back"), "utf8"), "moved");
  await session.makeDirectory("/d", {});
  await put(session, "/d/f", "x");
  await assert.rejects(session.rename("/d", "/m/d", false), code("unsupported"));
  await assert.rejects(session.link("/back", "/m/l"), code("unsupported"));
  await session.rename("/d", "/e", false);
  await session.makeDirectory("/m/d", {});
  await session.rename("/m/d", "/m/e", false);
});

test("links lead neither out of a folder nor from the home into one, though both are the account's", async () => {
  const { root, session } = await site({ folders: [{ path: "/m", target: "x", allow: ["list"] }] });
  await put(session, "/f", "home");
  await mkdir(join(root, "x"), { recursive: true });
  await mkdir(join(root, "bob"), { recursive: true });
  await writeFile(join(root, "x/secret"), "secret");
  await writeFile(join(root, "bob/secret"), "bob's");
  await symlink("../x/secret", join(root, "alice/to-folder"));
  await symlink("../x", join(root, "alice/to-directory"));
  await symlink("../alice/f", join(root, "x/to-home"));
  await symlink("../bob", join(root, "x/to-bob"));
  await symlink("/etc/passwd", join(root, "x/out"));
  for (const path of ["/to-folder", "/to-directory/secret", "/m/to-home", "/m/to-bob/secret", "/m/out"]) {
    await assert.rejects(session.stat(path, true), code("not-found"), path);
    await assert.rejects(session.open(path, intent.read), LongshoreError, path);
    await assert.rejects(session.open(path, intent.put), LongshoreError, path);
  }
  await assert.rejects(session.readLink("/m/to-home"), code("not-found"));
  await symlink("secret", join(root, "x/inside"));
  assert.equal(await session.readLink("/m/inside"), "/m/secret");
});

test("a change of the group's folders and permissions is in force at the session's next operation", async () => {
  const folders = [{ path: "/m", target: "x" }];
  const fields = { groups: ["g"] };
  const { root, session, set } = await site(fields, { name: "g", folders });
  await put(session, "/m/f", "1");
  set(fields, { name: "g", folders: [{ path: "/m", target: "y" }] });
  assert.deepEqual(await names(session, "/m"), []);
  await put(session, "/m/f", "2");
  assert.equal(await readFile(join(root, "y/f"), "utf8"), "2");
  set(fields, { name: "g", folders, permissions: [{ path: "/", allow: ["list"] }] });
  await assert.rejects(put(session, "/m/f", "3"), code("permission-denied"));
  set(fields);
  await assert.rejects(names(session, "/"), code("permission-denied"), "its group is gone");
});

test("an upload into a folder that is taken away before its close isn't committed under the home's permissions", async () => {
  const { root, session, set } = await site({ folders: [{ path: "/m", target: "x" }] });
  const handle = await session.open("/m/f", intent.put);
  await write(handle, 0, "late");
  set({});
  await assert.rejects(handle.close(), code("permission-denied"));
  assert.deepEqual(await readdir(join(root, "x")), []);
});

test("a handle that wrote nothing sets a committed file's times only where the account may", async () => {
  const allow = ["list", "read", "write", "overwrite"];
  const { root, session, set } = await site({ permissions: [{ path: "/", allow }] });
  await put(session, "/f", "whole");
  const touch = async () => {
    const handle = await session.open("/f", intent.resume);
    await handle.setAttributes({ atime: 1_000_000_000, mtime: 1_000_000_000 });
    await handle.close();
  };
  const modified = async () => (await stat(join(root, "alice/f"))).mtimeMs;
  const before = await modified();
  await assert.rejects(touch(), code("permission-denied"));
  assert.equal(await modified(), before);
  set({ permissions: [{ path: "/", allow: [...allow, "set-times"] }] });
  await touch();
  assert.equal(await modified(), 1_000_000_000_000);
  assert.equal(await readFile(join(root, "alice/f"), "utf8"), "whole");
});
