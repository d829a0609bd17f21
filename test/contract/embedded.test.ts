import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { until } from "#lib/testing.js";
import { killAll, start } from "../support/processes.js";

const WRITER = fileURLToPath(new URL("embedded-writer.js", import.meta.url));

/** The last number that the writer saw confirmed, and its revision. */
function lastAck(output: string): { n: number; revision: number } | undefined {
  // The very last line may be cut by the kill; only ended ones count.
  const matches = [...output.matchAll(/^ack (\d+) at (\d+)\n/gm)];
  const last = matches.at(-1);
  return last && { n: Number(last[1]), revision: Number(last[2]) };
}

describe("embedded coordination store: one process, any death", () => {
  let directory = "";
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-embedded-"));
  });
  after(async () => {
    await killAll();
    await rm(directory, { recursive: true, force: true });
  });

  it("refuses a second opener in the same process, until the first one has closed", async () => {
    const own = join(directory, "own");
    const first = createEmbeddedCoordination({ directory: own });
    assert.throws(() => createEmbeddedCoordination({ directory: own }), StoreUnavailableError);
    await first.close();
    await createEmbeddedCoordination({ directory: own }).close();
  });

  it("keeps what it confirmed through kill -9, is taken over at once, and drops the dead process' leases", async () => {
    let before = { n: 0, revision: 0 };
    for (let round = 0; round < 4; round++) {
      const writer = start(process.execPath, [WRITER, directory], { name: "embedded-writer" });
      const goal = before.n + 150 + round * 37;
      await until(
        "the writer is at work",
        () => {
          assert.ok(writer.alive, writer.output);
          return (lastAck(writer.output)?.n ?? 0) >= goal;
        },
        { deadlineMs: 20_000 },
      );
      assert.throws(
        () => createEmbeddedCoordination({ directory }),
        (error) => error instanceof StoreUnavailableError && error.message.includes(`pid ${writer.pid}`),
      );
      await writer.kill();
      const last = lastAck(writer.output);
      assert.ok(last);

      const store = createEmbeddedCoordination({ directory });
      const n = Number((await store.get("n"))?.value);
      assert.ok(n === last.n || n === last.n + 1, `confirmed ${last.n}, found ${n}`);
      assert.equal((await store.get(`many/${n % 100}`))?.value.length, n % 5_000, "a transaction is kept whole");
      assert.equal(await store.get("writer"), undefined, "nobody keeps that lease alive");
      const { revision } = await store.list("");
      assert.ok(revision > last.revision && last.revision > before.revision, "revisions never go back");
      before = { n, revision };
      await store.close();
    }
  });
});
