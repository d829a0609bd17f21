import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { after, test } from "node:test";
import type { NodeFacts } from "#cli/doctor/facts.js";
import { tryStorage } from "#cli/doctor/storage-trial.js";
import { storageTrial } from "#cli/doctor/storage-trial-check.js";
import type { TrialAct } from "#storage/contract.js";
import { tryStorage as act } from "#storage/posix/trial.js";

/** The doctor's trial of the storage, with nodes whose volumes are one and the same, and ones whose aren't. */

const servers: Server[] = [];
const directories: string[] = [];
after(() => {
  for (const server of servers) server.close();
  for (const directory of directories) rmSync(directory, { recursive: true });
});

function volume(): string {
  const directory = mkdtempSync(join(tmpdir(), "longshore-volume-"));
  directories.push(directory);
  return directory;
}

/** As much of a node as the trial needs. */
async function node(name: string, directory: string): Promise<NodeFacts> {
  const server = createServer((request, response) => {
    void (async () => {
      const asked = (await json(request)) as { name: string; act: TrialAct };
      response.end(JSON.stringify({ node: name, ...(await act(directory, asked.name, asked.act, name)) }));
    })();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const status = { node: { storage: { healthy: true } } };
  return {
    name,
    adminUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    expected: true,
    answer: { kind: "status", status, askedAt: 0, roundTripMs: 0 } as unknown as NodeFacts["answer"],
  };
}

const trial = async (nodes: readonly NodeFacts[]) =>
  storageTrial(await tryStorage(nodes, ({ adminUrl }) => ({ urls: [adminUrl], token: "t" })));

test("nodes on one volume see each other's files, and leave nothing there", async () => {
  const directory = volume();
  const findings = await trial(await Promise.all([1, 2, 3].map((index) => node(`node-${index}`, directory))));
  assert.deepEqual(
    findings.map(({ result, seen }) => [result, seen]),
    [["ok", "3 nodes see each other's files; one alone wins a create; renames are seen at once"]],
  );
  assert.deepEqual(readdirSync(directory), []);
});

test("one node alone tries its own", async () => {
  const findings = await trial([await node("node-1", volume())]);
  assert.deepEqual(findings[0]?.seen, "creates exclusively, and renames");
});

test("a node with a volume of its own is found, whichever it is", async () => {
  const shared = volume();
  const nodes = await Promise.all([node("node-1", shared), node("node-2", volume()), node("node-3", shared)]);
  const findings = await trial(nodes);
  assert.deepEqual(
    findings.map(({ result, subject, seen }) => [result, subject, seen]),
    [
      ["fail", "node-1, node-2", "node-2 doesn't see what node-1 has just created"],
      ["fail", "node-2, node-3", "node-3 doesn't see what node-2 has just created"],
      ["fail", "site", findings[2]?.seen],
    ],
  );
  assert.match(findings[2]?.seen ?? "", /^all created one file at once, and node-\d, node-\d were told that it did$/);
});
