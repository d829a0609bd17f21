import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { isCode } from "#lib/errors.js";
import { sealKey } from "#lib/seal.js";
import { createAccounts } from "./accounts.js";
import { StaleRevisionError } from "./errors.js";
import { pastChanges } from "./history.js";
import { createSiteDocuments } from "./site-documents.js";

const awake = setInterval(() => {}, 1_000);
after(() => clearInterval(awake));

/** Some answers get lost, of transactions that were applied and of ones that weren't: as when a node or a member dies. */
function losingAnswers(coordination: Coordination, random: () => number): Coordination {
  const lost = () => new OutcomeUnknownError("the answer was lost");
  return {
    get: (...args) => coordination.get(...args),
    list: (...args) => coordination.list(...args),
    lease: (...args) => coordination.lease(...args),
    watch: (...args) => coordination.watch(...args),
    close: () => coordination.close(),
    maxOperations: coordination.maxOperations,
    async transact(transaction, options) {
      const chance = random();
      if (chance < 0.05) throw lost();
      const result = await coordination.transact(transaction, options);
      if (chance < 0.1) throw lost();
      return result;
    },
  };
}

/** The embedded store answers at once: without a turn of the loop nobody else would ever come to write. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

const WRITERS = 20;
/** Few enough that the history, which the checker reads, holds all of it. */
const EACH = 3;

test("20 writers on the same and on different entries while answers get lost: no update is lost, none is half, none is done twice", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "longshore-writers-"));
  const store = createEmbeddedCoordination({ directory });
  t.after(async () => {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });
  const settings = JSON.stringify({ id: "0f8e7d6c-1111-4222-8333-444455556666", name: "t" });
  await store.transact({ compare: [], apply: [{ put: keys.site, value: settings }] });
  const nodes = [1, 2, 3].map(() => {
    const coordination = losingAnswers(store, Math.random);
    const clusterKey = [sealKey(randomBytes(32))] as const;
    return { documents: createSiteDocuments({ coordination, clusterKey }), accounts: createAccounts({ coordination }) };
  });
  const pair = (n: number) => ({ groups: { one: { maxSessions: n }, two: { maxSessions: n } } });
  const sound = createSiteDocuments({ coordination: store, clusterKey: [sealKey(randomBytes(32))] });
  await sound.put("group", "counter", { maxSessions: 1 }, "absent", {});
  await sound.apply(pair(1), false, {});

  const acknowledged: number[] = [];
  const refused = (error: unknown) => {
    // The store's deadline may pass before a transaction's turn, where others keep the processors.
    const passing = isCode(error, "busy") || isCode(error, "unavailable");
    const expected = passing || error instanceof StaleRevisionError || error instanceof OutcomeUnknownError;
    if (!expected) throw error;
  };
  const administrator = async (id: number) => {
    const node = nodes[id % nodes.length];
    assert.ok(node);
    for (let left = EACH; left > 0; ) {
      await turn();
      const read = await node.documents.get("group", "counter");
      assert.ok(read);
      const maxSessions = (read.value.maxSessions ?? 0) + 1;
      try {
        await node.documents.put("group", "counter", { maxSessions }, read.revision, { by: `writer ${id}` });
        acknowledged.push(maxSessions);
        left -= 1;
      } catch (error) {
        refused(error);
        continue;
      }
      await node.accounts.put({ name: `own-${id}`, description: String(left) }).catch(refused);
      if (id < 3) await node.documents.apply(pair(id * EACH + left + 2), false, {}).catch(refused);
    }
  };
  let running = true;
  let looks = 0;
  const watcher = async () => {
    while (running) {
      const { groups = {} } = (await sound.document(false)).document;
      assert.equal(groups.one?.maxSessions, groups.two?.maxSessions, "half of a document was seen");
      looks += 1;
      await turn();
    }
  };
  const watching = watcher();
  await Promise.all(Array.from({ length: WRITERS }, (_, id) => administrator(id)));
  running = false;
  await watching;

  // The checker: each change of the counter replaced the value of the one before it, and each acknowledged one is there.
  const history = await pastChanges(store);
  const replaced = history
    .toReversed()
    .flatMap((change) => change.replaced.filter(({ key }) => key === keys.group("counter")))
    .map(({ before }) => (before === null ? 0 : (JSON.parse(before) as { maxSessions: number }).maxSessions));
  const values = [...replaced, (await sound.get("group", "counter"))?.value.maxSessions ?? 0];
  const inTurn = values.map((_, index) => index);
  assert.deepEqual(values, inTurn, "an update was lost");
  assert.equal(acknowledged.length, WRITERS * EACH);
  assert.equal(new Set(acknowledged).size, acknowledged.length, "two writers were told the same");
  for (const value of acknowledged) assert.ok(values.includes(value), `${value} was acknowledged and isn't there`);
  assert.ok(looks > 5, `${looks} looks at the pair`);
});
