import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { anchorsOf, anchorsSchema, answerOf } from "#audit/anchors.js";
import { keepAwake, NODE_ID, scratch, spoolIn } from "#audit/testing.js";
import { verifyAudit } from "#audit/verify.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import { readAnchors } from "./audit-anchor.js";

keepAwake();
const OTHER = "1f8e7d6c-1111-4222-8333-444455556666";
const GONE = "2f8e7d6c-1111-4222-8333-444455556666";

test("a damaged anchor is a fault of its chain by name, and the others are still compared", async (t) => {
  const site = scratch(t);
  for (const nodeId of [NODE_ID, OTHER]) {
    mkdirSync(join(site, nodeId));
    const spool = await spoolIn(join(site, nodeId), { nodeId });
    await spool.recordDurably({ kind: "login", what: "password", outcome: "ok", who: "ann" });
    await spool.close();
  }
  const coordination = createEmbeddedCoordination({ directory: scratch(t) });
  t.after(() => coordination.close());
  const newer = { node: "beta", seq: 99, hash: "0".repeat(64), at: new Date().toISOString() };
  await coordination.transact({
    compare: [],
    apply: [
      { put: keys.auditAnchor(NODE_ID), value: '{"node":' },
      { put: keys.auditAnchor(OTHER), value: JSON.stringify(newer) },
      { put: keys.auditAnchor(GONE), value: "{}" },
    ],
  });
  const answer = JSON.stringify(answerOf(await readAnchors(coordination)));
  const anchors = anchorsOf(anchorsSchema.parse(JSON.parse(answer)));
  const { chains, whole } = await verifyAudit(site, { anchors });
  assert.equal(whole, false);
  assert.deepEqual(
    chains.map(({ chain, fault, records }) => [chain, fault?.fault, records > 0]),
    [
      [NODE_ID, "anchor-damaged", true],
      [OTHER, "newest-missing", true],
      [GONE, "anchor-damaged", false],
    ],
  );
});
