import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createShipper } from "#audit/ship.js";
import { openSpool } from "#audit/spool.js";
import { verifyAudit } from "#audit/verify.js";
import { recordingLogger } from "../cluster/fixture.js";

const WRITER = fileURLToPath(new URL("./writer.js", import.meta.url));
const LIVES = 6;

/** Lets a writer live until it has said so many records, then kills it. Resolves with what it had been told is durable. */
async function oneLife(spool: string, target: string, life: string, records: number): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, spool, target, life], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  let killed = false;
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (text: string) => {
    said += text;
    if (killed || said.split("\n").length <= records) return;
    killed = true;
    child.kill("SIGKILL");
  });
  const [, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL");
  // the last line may have been cut by the kill
  return said.slice(0, said.lastIndexOf("\n")).split("\n");
}

test("kill -9 in a storm of records: nothing acknowledged is lost, and the chain stands on the storage", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "longshore-audit-kill-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [spoolDirectory, site] = [join(root, "spool"), join(root, "site")];
  const target = join(site, "0f8e7d6c-1111-4222-8333-444455556666");
  const acknowledged: string[] = [];
  for (let i = 0; i < LIVES; i += 1) {
    acknowledged.push(...(await oneLife(spoolDirectory, target, `life${i}`, 150 + Math.floor(Math.random() * 400))));
  }

  const logger = recordingLogger();
  const last = await openSpool({
    directory: spoolDirectory,
    node: "alpha",
    nodeId: "0f8e7d6c-1111-4222-8333-444455556666",
    life: "last",
    version: "test",
    logger,
  });
  const keepAwake = setInterval(() => {}, 1_000);
  await createShipper({ spool: last, directory: spoolDirectory, target: () => target, logger }).stop(30_000);
  clearInterval(keepAwake);
  await last.close();

  const { chains, whole } = await verifyAudit(site);
  assert.ok(whole, `${JSON.stringify(chains)}\n${logger.lines.join("\n")}`);
  assert.equal(chains[0]?.to?.seq, last.position().seq);
  const text = readdirSync(target)
    .map((file) => readFileSync(join(target, file), "utf8"))
    .join("");
  const counts = new Map<string, number>();
  for (const [, id = ""] of text.matchAll(/"transfer":"([^"]+)"/g)) counts.set(id, (counts.get(id) ?? 0) + 1);
  assert.ok(acknowledged.length > LIVES * 100);
  assert.deepEqual(
    acknowledged.filter((id) => counts.get(id) !== 1),
    [],
  );
  assert.ok([...counts.values()].every((count) => count === 1));
  assert.ok(chains[0].segments > LIVES);
});
