import assert from "node:assert/strict";
import { test } from "node:test";
import { type NodeCertificate, otherCertificates } from "./certificates.js";

const certificate = (more: Partial<NodeCertificate> = {}): NodeCertificate => ({
  use: "admin",
  fingerprint: "a",
  names: "CN=longshore",
  notAfter: 0,
  ...more,
});
const node = (name: string, ...certificates: NodeCertificate[]) => ({ name, certificates });

test("a shared file that one node has otherwise is named with its node", () => {
  const own = [certificate(), certificate({ use: "etcd-authority", fingerprint: "ca" })];
  const nodes = [
    node("node-1", ...own),
    node("node-2", certificate({ fingerprint: "old" }), certificate({ use: "etcd-authority", fingerprint: "ca" })),
    node("node-3", certificate(), certificate({ use: "etcd-authority", fingerprint: "old" })),
  ];
  assert.deepEqual(otherCertificates(own, nodes), [
    { node: "node-2", use: "admin" },
    { node: "node-3", use: "etcd-authority" },
  ]);
});

test("certificates of a node's own, and nodes that tell none, are no drift", () => {
  const own = [certificate(), certificate({ use: "etcd-client", fingerprint: "mine" })];
  const nodes = [
    node("node-2", certificate({ names: "CN=node-2", fingerprint: "b" })),
    node("node-3", certificate({ use: "etcd-client", fingerprint: "theirs" })),
    { name: "node-4" },
    node("node-5", certificate({ use: "from-a-later-version", fingerprint: "c" })),
  ];
  assert.deepEqual(otherCertificates(own, nodes), []);
});
