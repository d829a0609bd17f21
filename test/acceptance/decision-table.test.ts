import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { Partner } from "../support/clients/partner.js";
import { codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import type { Attrs } from "../support/clients/sftp-codec.js";
import { type Site, startSite } from "../support/site.js";

/**
 * The table "Decision table (SFTP)" of clients.md, a test a cell: what each operation does where there is nothing (N), a
 * committed file (C), an own partial (P) and both (CP). Partials are made by losing the connection in mid-upload; the
 * operation is then sent to the node that held the upload, and to another one.
 */

const COMMITTED = bytes(500, "committed");
const PARTIAL = bytes(1_000, "partial");
const REST = bytes(300, "rest");
const NEW = bytes(120, "new");
const SOURCE = bytes(77, "source");
/** A partial is reported one byte short of what arrived. */
const REPORTED = PARTIAL.length - 1;
const WHOLE = Buffer.concat([PARTIAL, REST]);
const MTIME = 1_000_000_000;

type State = "N" | "C" | "P" | "CP";

interface Stage {
  readonly path: string;
  /** The session under test. */
  readonly own: RawSftp;
  /** Another account with the same home, on a third node. */
  readonly other: RawSftp;
  readonly state: State;
}
type Cell = (stage: Stage) => Promise<void>;

function same(seen: Buffer, expected: Buffer, what: string): void {
  assert.ok(seen.equals(expected), `${what}: ${seen.length} bytes, expected ${expected.length}`);
}

const holds = async (session: RawSftp, path: string, content: Buffer, what: string) =>
  same(await session.get(path), content, what);

/** What everybody but the uploader must see: the committed file, or nothing. */
async function othersSee(stage: Stage, content: Buffer | undefined): Promise<void> {
  if (content !== undefined) await holds(stage.other, stage.path, content, "another account reads");
  else assert.equal(await codeOf(stage.other.stat(stage.path)), Status.NO_SUCH_FILE, "another account sees nothing");
}

const before_ = (stage: Stage) => othersSee(stage, stage.state.includes("C") ? COMMITTED : undefined);

const gives =
  (code: number, operation: (stage: Stage) => Promise<unknown>, then: Cell = async () => undefined): Cell =>
  async (stage) => {
    assert.equal(await codeOf(operation(stage)), code);
    await then(stage);
  };

const reportsSize =
  (size: number, operation: (stage: Stage) => Promise<Attrs>): Cell =>
  async (stage) =>
    assert.equal((await operation(stage)).size, size);

const listed = async ({ own, path }: Stage) =>
  (await own.list("/")).filter(({ name }) => name.toString() === path.slice(1)).map(({ attrs }) => attrs.size);

const lists =
  (...sizes: number[]): Cell =>
  async (stage) =>
    assert.deepEqual(await listed(stage), sizes);

const partialIsStill: Cell = async ({ own, path }) => assert.equal((await own.stat(path)).size, REPORTED);

/** The partial is gone: nothing of it comes back when the file is opened for resuming. */
const partialIsGone =
  (left: Buffer | undefined): Cell =>
  async (stage) => {
    const { own, path } = stage;
    if (left === undefined) {
      assert.equal(await codeOf(own.stat(path)), Status.NO_SUCH_FILE);
      assert.equal(await codeOf(own.open(path, Open.W)), Status.NO_SUCH_FILE);
    } else {
      assert.equal((await own.stat(path)).size, left.length);
      await holds(own, path, left, "what is left");
    }
    await othersSee(stage, left);
  };

/** A new staging: nobody else sees it before CLOSE, everybody after, and nothing older is in it. */
const stagesAnew =
  (flags: number): Cell =>
  async (stage) => {
    const handle = await stage.own.open(stage.path, flags);
    await stage.own.write(handle, 0, NEW);
    assert.equal((await stage.own.stat(stage.path)).size, NEW.length, "the new upload, as it stands");
    await before_(stage);
    await stage.own.close(handle);
    await holds(stage.own, stage.path, NEW, "after CLOSE");
    await othersSee(stage, NEW);
  };

/** Copy-on-write of the committed file: patched inside, unchanged for readers until CLOSE. */
const copiesOnWrite =
  (flags: number): Cell =>
  async (stage) => {
    const patch = bytes(5, "patch");
    const handle = await stage.own.open(stage.path, flags);
    await stage.own.write(handle, 10, patch);
    await before_(stage);
    await stage.own.close(handle);
    const patched = Buffer.concat([COMMITTED.subarray(0, 10), patch, COMMITTED.subarray(15)]);
    await holds(stage.own, stage.path, patched, "after CLOSE");
    await othersSee(stage, patched);
  };

const resumes =
  (flags: number): Cell =>
  async (stage) => {
    const { own, path } = stage;
    const handle = await own.open(path, flags);
    if (flags & Open.R) same(await own.read(handle, 0, 100), PARTIAL.subarray(0, 100), "read on the own write handle");
    await own.write(handle, REPORTED, WHOLE.subarray(REPORTED));
    await before_(stage);
    await own.close(handle);
    await holds(own, path, WHOLE, "after CLOSE");
    await othersSee(stage, WHOLE);
  };

const appends =
  (flags: number): Cell =>
  async (stage) => {
    const handle = await stage.own.open(stage.path, flags);
    await stage.own.write(handle, COMMITTED.length, REST);
    await before_(stage);
    await stage.own.close(handle);
    await othersSee(stage, Buffer.concat([COMMITTED, REST]));
  };

const fstatFollowsWrites: Cell = async ({ own, path }) => {
  const handle = await own.open(path, Open.W);
  assert.equal((await own.fstat(handle)).size, REPORTED, "before the first WRITE");
  await own.write(handle, REPORTED, WHOLE.subarray(REPORTED, 1_200));
  assert.equal((await own.fstat(handle)).size, 1_200, "the highest end");
  await own.write(handle, 10, WHOLE.subarray(10, 20));
  assert.equal((await own.fstat(handle)).size, 1_200, "a lower WRITE changes nothing");
};

const readsAsAtOpen: Cell = async ({ own, other, path, state }) => {
  const handle = await own.open(path, Open.R);
  if (state === "C") await other.put(path, NEW);
  const first = await own.read(handle, 0, 200);
  same(Buffer.concat([first, await own.read(handle, 200, 65_536)]), COMMITTED, "the file as it was at OPEN");
  await own.close(handle);
};

const appliesByPath: Cell = async ({ own, path }) => {
  await own.setstat(path, { mode: 0o100640 });
  await own.setstat(path, { atime: MTIME, mtime: MTIME });
  const seen = await own.stat(path);
  assert.equal((seen.mode ?? 0) & 0o777, 0o640);
  assert.equal(seen.mtime, MTIME);
};

const committedTimesUntouched: Cell = async (stage) => {
  if (stage.state === "CP") assert.notEqual((await stage.other.stat(stage.path)).mtime, MTIME);
  await partialIsStill(stage);
};

const stagesAttributes =
  (change: (stage: Stage, handle: Buffer) => Promise<void>): Cell =>
  async (stage) => {
    const { own, other, path } = stage;
    const handle = await own.open(path, Open.W | Open.C);
    await own.write(handle, REPORTED, WHOLE.subarray(REPORTED));
    await change(stage, handle);
    if (stage.state === "CP") assert.notEqual((await other.stat(path)).mtime, MTIME, "staged, not applied to C");
    await own.close(handle);
    assert.equal((await other.stat(path)).mtime, MTIME, "applied at commit");
    await othersSee(stage, WHOLE);
  };

const movedAway: Cell = async (stage) => {
  await holds(stage.other, `${stage.path}.moved`, COMMITTED, "under the new name");
  await othersSee(stage, undefined);
};

const sourceIsStill: Cell = async ({ other, path }) => holds(other, `${path}.src`, SOURCE, "the source");
const sourceIsGone: Cell = async ({ other, path }) =>
  assert.equal(await codeOf(other.stat(`${path}.src`)), Status.NO_SUCH_FILE);

function onto(posix: boolean, code: number, then: Cell): Cell {
  return gives(
    code,
    async ({ own, path }) => {
      await own.put(`${path}.src`, SOURCE);
      await (posix ? own.posixRename(`${path}.src`, path) : own.rename(`${path}.src`, path));
    },
    async (stage) => {
      await (code === Status.OK ? sourceIsGone(stage) : sourceIsStill(stage));
      await then(stage);
    },
  );
}

const both =
  (...cells: Cell[]): Cell =>
  async (stage) => {
    for (const cell of cells) await cell(stage);
  };

const { R, W, C, T, EXCL, APPEND } = Open;
const { NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, OK } = Status;
const opens = (flags: number) => (stage: Stage) => stage.own.open(stage.path, flags);
const stat = ({ own, path }: Stage) => own.stat(path);
const lstat = ({ own, path }: Stage) => own.lstat(path);
const times = ({ own, path }: Stage) => own.setstat(path, { atime: MTIME, mtime: MTIME });
const removes = ({ own, path }: Stage) => own.remove(path);
const renames = ({ own, path }: Stage) => own.rename(path, `${path}.moved`);
const movesByPosix = ({ own, path }: Stage) => own.posixRename(path, `${path}.moved`);
const byHandle = stagesAttributes(({ own }, handle) => own.fsetstat(handle, { atime: MTIME, mtime: MTIME }));
const byPath = stagesAttributes(({ own, path }) => own.setstat(path, { atime: MTIME, mtime: MTIME }));

const TABLE: readonly (readonly [operation: string, cells: Partial<Record<State, Cell>>])[] = [
  [
    "STAT",
    {
      N: gives(NO_SUCH_FILE, stat),
      C: reportsSize(500, stat),
      P: reportsSize(REPORTED, stat),
      CP: reportsSize(REPORTED, stat),
    },
  ],
  [
    "LSTAT",
    {
      N: gives(NO_SUCH_FILE, lstat),
      C: reportsSize(500, lstat),
      P: reportsSize(REPORTED, lstat),
      CP: reportsSize(REPORTED, lstat),
    },
  ],
  ["READDIR", { N: lists(), C: lists(500), P: lists(REPORTED), CP: lists(REPORTED) }],
  ["FSTAT on a write handle", { P: fstatFollowsWrites, CP: fstatFollowsWrites }],
  [
    "OPEN READ",
    { N: gives(NO_SUCH_FILE, opens(R)), C: readsAsAtOpen, P: gives(PERMISSION_DENIED, opens(R)), CP: readsAsAtOpen },
  ],
  [
    "W,C,T",
    { N: stagesAnew(W | C | T), C: stagesAnew(W | C | T), P: stagesAnew(W | C | T), CP: stagesAnew(W | C | T) },
  ],
  [
    "W,C,EXCL",
    {
      N: stagesAnew(W | C | EXCL),
      C: gives(FAILURE, opens(W | C | EXCL), before_),
      P: gives(FAILURE, opens(W | C | EXCL), partialIsStill),
      CP: gives(FAILURE, opens(W | C | EXCL), both(before_, partialIsStill)),
    },
  ],
  ["W,C", { N: stagesAnew(W | C), C: copiesOnWrite(W | C), P: resumes(W | C), CP: resumes(W | C) }],
  ["W without C", { N: gives(NO_SUCH_FILE, opens(W)), C: copiesOnWrite(W), P: resumes(W), CP: resumes(W) }],
  [
    "R,W without C",
    { N: gives(NO_SUCH_FILE, opens(R | W)), C: copiesOnWrite(R | W), P: resumes(R | W), CP: resumes(R | W) },
  ],
  [
    "W,APPEND,C",
    {
      N: stagesAnew(W | APPEND | C),
      C: appends(W | APPEND | C),
      P: resumes(W | APPEND | C),
      CP: resumes(W | APPEND | C),
    },
  ],
  [
    "W,APPEND without C",
    {
      N: gives(NO_SUCH_FILE, opens(W | APPEND)),
      C: appends(W | APPEND),
      P: resumes(W | APPEND),
      CP: resumes(W | APPEND),
    },
  ],
  [
    "SETSTAT by path, no open handle",
    {
      N: gives(NO_SUCH_FILE, times),
      C: appliesByPath,
      P: gives(FAILURE, times, committedTimesUntouched),
      CP: gives(FAILURE, times, committedTimesUntouched),
    },
  ],
  ["FSETSTAT", { P: byHandle, CP: byHandle }],
  ["SETSTAT by path, own handle open", { P: byPath, CP: byPath }],
  [
    "REMOVE",
    {
      N: gives(NO_SUCH_FILE, removes),
      C: gives(OK, removes, partialIsGone(undefined)),
      P: gives(OK, removes, partialIsGone(undefined)),
      CP: gives(OK, removes, partialIsGone(COMMITTED)),
    },
  ],
  [
    "RENAME from",
    {
      N: gives(NO_SUCH_FILE, renames),
      C: gives(OK, renames, movedAway),
      P: gives(FAILURE, renames, partialIsStill),
      CP: gives(FAILURE, renames, both(before_, partialIsStill)),
    },
  ],
  [
    "posix-rename from",
    {
      N: gives(NO_SUCH_FILE, movesByPosix),
      C: gives(OK, movesByPosix, movedAway),
      P: gives(FAILURE, movesByPosix, partialIsStill),
      CP: gives(FAILURE, movesByPosix, both(before_, partialIsStill)),
    },
  ],
  [
    "RENAME onto, plain",
    {
      N: onto(false, OK, partialIsGone(SOURCE)),
      C: onto(false, FAILURE, before_),
      P: onto(false, OK, partialIsGone(SOURCE)),
      CP: onto(false, FAILURE, both(before_, partialIsStill)),
    },
  ],
  [
    "posix-rename onto",
    {
      N: onto(true, OK, partialIsGone(SOURCE)),
      C: onto(true, OK, partialIsGone(SOURCE)),
      P: onto(true, OK, partialIsGone(SOURCE)),
      CP: onto(true, OK, partialIsGone(SOURCE)),
    },
  ],
];

const NAMES: Record<State, string> = {
  N: "where there is nothing",
  C: "on a committed file",
  P: "on an own partial",
  CP: "on an own partial over a committed file",
};

describe("decision table", () => {
  let site: Site;
  let partner: Partner;
  const sessions: RawSftp[] = [];
  let other: RawSftp;
  let files = 0;

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "table");
    const neighbour = await Partner.add(site, "neighbour", { home: partner.home });
    for (const node of [0, 1]) sessions.push(await partner.rawOn(node));
    other = await neighbour.rawOn(2);
  });
  after(async () => {
    for (const session of [...sessions, other]) await session?.end();
    await site?.stop();
  });

  /** Builds the state through node 0; the partial by losing the connection. */
  async function stage(state: State, own: RawSftp): Promise<Stage> {
    const path = `/file-${files++}`;
    if (state.includes("C")) await other.put(path, COMMITTED);
    if (state.includes("P")) {
      const maker = await partner.rawOn(0);
      const handle = await maker.open(path, W | C | T);
      await maker.writeAll(handle, PARTIAL, 0, 300);
      await maker.drop();
      await until("the partial shows", async () => (await own.stat(path)).size === REPORTED);
    }
    return { path, own, other, state };
  }

  for (const [node, where] of ["the same node", "another node"].entries()) {
    for (const [operation, cells] of TABLE) {
      for (const [state, cell] of Object.entries(cells) as [State, Cell][]) {
        if (node === 1 && !state.includes("P")) continue;
        const seen = state.includes("P") ? `, seen from ${where}` : "";
        test(`${operation} ${NAMES[state]}${seen}`, { timeout: 60_000 }, async () => {
          const own = sessions[node];
          assert.ok(own);
          const set = await stage(state, own);
          await before_(set);
          await cell(set);
        });
      }
    }
  }
});
