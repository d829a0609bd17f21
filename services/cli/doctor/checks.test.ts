import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { judge } from "./checks.js";
import type { Facts, FrontFacts, NodeAnswer, NodeFacts, NodeStatus, TrialFacts, TrialPair } from "./facts.js";

const ASKED = 1_000_000;
const GIB = 1024 ** 3;

interface Change {
  readonly node?: Partial<NodeStatus["node"]>;
  readonly config?: Partial<NodeStatus["config"]>;
  readonly certificates?: NodeStatus["nodes"][number]["certificates"];
  readonly roundTripMs?: number;
}

const FINE = [{ use: "admin", notAfter: Date.now() + 100 * 86_400_000 }];

function node(name: string, change: Change = {}): NodeFacts {
  const { node: own, config, certificates = FINE, roundTripMs = 10 } = change;
  const status: NodeStatus = {
    node: {
      name,
      version: "1.0.0",
      state: "ready",
      reasons: [],
      leaseUsable: true,
      time: ASKED + roundTripMs / 2,
      storage: { healthy: true, freeBytes: 50 * GIB, totalBytes: 100 * GIB },
      ...own,
    },
    config: { revision: 7, hash: "abc", lagMs: 0, faults: [], trouble: null, otherCertificates: [], ...config },
    nodes: [{ name, addresses: {}, certificates }],
  };
  return answered(name, { kind: "status", status, askedAt: ASKED, roundTripMs });
}

function answered(name: string, answer: NodeAnswer, expected = true): NodeFacts {
  return { name, adminUrl: `http://${name}:8080`, expected, answer };
}

const OURS = { host: "192.0.2.9", port: 40_000 };
const FRONT: FrontFacts = {
  name: "balancer-1",
  address: { host: "192.0.2.1", port: 2222 },
  banner: "SSH-2.0-Longshore",
  hostKeys: ["ssh-ed25519 SHA256:x", "ssh-rsa SHA256:y"],
  client: OURS,
  seen: [{ node: "node-1", ...OURS }],
};
const PAIR: TrialPair = {
  creator: "node-1",
  other: "node-2",
  created: "exists",
  found: "node-1",
  renamed: "done",
  stillThere: false,
  moved: true,
};
const SITE: Facts = {
  nodes: [node("node-1"), node("node-2")],
  fronts: [FRONT],
  balancers: [
    {
      name: "balancer-1",
      servers: new Map([
        ["node-1", "UP"],
        ["node-2", "UP 1/2"],
        ["node-4", "DOWN"],
      ]),
    },
  ],
  members: ["etcd-1", "etcd-2", "etcd-3"].map((name) => ({ name, healthy: true })),
  secrets: [{ path: "/s/token", mode: 0o600 }],
  admins: [{ name: "balancer-1", url: "https://192.0.2.1:8080", problem: undefined }],
  trial: { nodes: ["node-1", "node-2"], pairs: [PAIR], winners: ["node-2"], problems: [] },
};

/** The findings that aren't `ok`, as lines; each says how to mend it. */
function ills(change: Partial<Facts>): string[] {
  const found = judge({ ...SITE, ...change }).filter(({ result }) => result !== "ok");
  for (const { check, mend } of found) assert.ok((mend ?? "").length > 10, `${check} says no mend`);
  return found.map(({ result, check, subject, seen }) => `${result} ${check} ${subject}: ${seen}`);
}

describe("the doctor", () => {
  test("finds nothing in a healthy site, and looks at each part of it", () => {
    assert.deepEqual(ills({}), []);
    const checks = [...new Set(judge(SITE).map(({ check }) => check))];
    assert.deepEqual(checks, [
      ...[
        "admin API",
        "node",
        "configuration",
        "certificates",
        "version",
        "clocks",
        "etcd",
        "balancer",
        "SFTP",
        "host keys",
      ],
      ...["client address", "storage", "storage trial", "secrets"],
    ]);
  });

  test("what nodes can't do with one another's files on the storage, by the first thing that goes wrong", () => {
    const trial = (change: Partial<TrialFacts>) => ills({ trial: { ...(SITE.trial as TrialFacts), ...change } });
    const pair = (change: Partial<TrialPair>) => trial({ pairs: [{ ...PAIR, ...change }] });
    const at = "fail storage trial node-1, node-2:";
    assert.deepEqual(pair({ found: undefined, created: "done" }), [
      `${at} node-2 doesn't see what node-1 has just created`,
    ]);
    assert.deepEqual(pair({ created: "done" }), [`${at} node-2 could create what node-1 had created`]);
    assert.deepEqual(pair({ renamed: "missing" }), [`${at} node-2 can't rename what node-1 created`]);
    assert.deepEqual(pair({ stillThere: true }), [`${at} node-1 doesn't see that node-2 has renamed a file`]);
    assert.deepEqual(pair({ moved: false }), [`${at} node-1 doesn't see that node-2 has renamed a file`]);
    assert.deepEqual(trial({ winners: ["node-1", "node-2"] }), [
      "fail storage trial site: all created one file at once, and node-1, node-2 were told that it did",
    ]);
    const problem = { node: "node-2", problem: "EROFS" };
    assert.deepEqual(trial({ problems: [{ ...problem, refused: false }], pairs: [], winners: [] }), [
      "fail storage trial node-2: EROFS",
    ]);
    assert.deepEqual(trial({ problems: [{ ...problem, refused: true }], pairs: [], winners: [] }), [
      "warn storage trial node-2: it wasn't tried: EROFS",
    ]);
    assert.deepEqual(ills({ trial: undefined }), []);
  });

  test("certificates that end, and one that is another on one node only, told once", () => {
    const ends = (days: number) => [{ use: "admin", notAfter: Date.now() + days * 86_400_000 }];
    const nodes = (one: number, two: number) => [
      node("node-1", { certificates: ends(one) }),
      node("node-2", { certificates: ends(two) }),
    ];
    assert.match(ills({ nodes: nodes(10, 100) }).join(), /^warn certificates node-1: admin ends on \d{4}-\d\d-\d\d$/);
    assert.match(ills({ nodes: nodes(100, 2) }).join(), /^fail certificates node-2: admin ends on/);
    assert.match(ills({ nodes: nodes(100, -1) }).join(), /^fail certificates node-2: admin ended on/);
    const others = (name: string) => ({ config: { otherCertificates: [{ node: name, use: "admin" }] } });
    assert.deepEqual(ills({ nodes: [node("node-1", others("node-2")), node("node-2", others("node-1"))] }), [
      "fail certificates site: node-2 and node-1 have different certificates (admin) for the same names",
    ]);
  });

  test("a balancer's certificate that ends soon", () => {
    const endsAt = Date.now() + 5 * 86_400_000;
    const admins = [{ name: "balancer-1", url: "https://192.0.2.1:8080", problem: undefined, endsAt }];
    assert.match(ills({ admins }).join(), /^warn admin API balancer-1: https:.*: its certificate ends on \d{4}-/);
  });

  test("an admin address that doesn't answer, and one whose certificate isn't believed, has its own mend", () => {
    const admins = (problem: string) => [{ name: "balancer-1", url: "https://192.0.2.1:8080", problem }];
    for (const [problem, mend] of [
      ["nothing listens there", /start the balancer/],
      ["ERR_TLS_CERT_ALTNAME_INVALID", /other names/],
      ["SELF_SIGNED_CERT_IN_CHAIN", /--ca-file/],
      ["CERT_HAS_EXPIRED", /renew/],
    ] as const) {
      const found = judge({ ...SITE, admins: admins(problem) }).find(({ result }) => result !== "ok");
      assert.equal(found?.seen, `https://192.0.2.1:8080: ${problem}`);
      assert.match(found?.mend ?? "", mend);
    }
  });

  test("a node that doesn't answer", () => {
    const dead = answered("node-3", { kind: "silent", problem: "nothing listens there" });
    assert.deepEqual(ills({ nodes: [...SITE.nodes, dead] }), [
      "fail admin API node-3: http://node-3:8080 doesn't answer: nothing listens there",
    ]);
  });

  test("a slot that nobody has filled is nothing to speak of; a node there that answers is looked at", () => {
    const empty = answered("node-4", { kind: "silent", problem: "it can't be reached" }, false);
    assert.deepEqual(ills({ nodes: [...SITE.nodes, empty] }), []);
    assert.match(ills({ nodes: [...SITE.nodes, answered("node-4", { kind: "denied" }, false)] })[0] ?? "", /node-4/);
  });

  test("a wrong token", () => {
    const found = ills({ nodes: SITE.nodes.map(({ name }) => answered(name, { kind: "denied" })) });
    assert.deepEqual(found, [
      "fail admin API node-1: http://node-1:8080 refuses the token",
      "fail admin API node-2: http://node-2:8080 refuses the token",
    ]);
  });

  test("a drained node is a wish, a cut-off one a fault", () => {
    const drained = node("node-3", { node: { state: "draining", reasons: ["an administrator drains the node"] } });
    assert.deepEqual(ills({ nodes: [...SITE.nodes, drained] }), [
      "warn node node-3: draining: an administrator drains the node",
    ]);
    const cutOff = node("node-3", { node: { state: "cut-off", reasons: ["no lease"], leaseUsable: false } });
    assert.deepEqual(ills({ nodes: [...SITE.nodes, cutOff] }), ["fail node node-3: cut-off: no lease"]);
  });

  test("active-passive: a passive node is well, and takes over for the active one; without an active one nobody serves", () => {
    const passive = (name: string) =>
      node(name, { node: { state: "passive", reasons: ["node-1 is the active node"] } });
    assert.deepEqual(ills({ nodes: [node("node-1"), passive("node-2")] }), []);
    assert.ok(
      ills({ nodes: [passive("node-1"), passive("node-2")] }).includes("fail node site: no node takes sessions"),
    );
  });

  test("one node left of several, and none", () => {
    const gone = (name: string) => answered(name, { kind: "silent", problem: "x" });
    assert.ok(
      ills({ nodes: [node("node-1"), gone("node-2")] }).includes(
        "warn node site: only node-1 takes sessions: nothing takes over for it",
      ),
    );
    const joining = node("node-1", { node: { state: "joining", reasons: ["y"] } });
    assert.ok(ills({ nodes: [joining, gone("node-2")] }).includes("fail node site: no node takes sessions"));
    assert.deepEqual(ills({ nodes: [node("node-1")] }), [], "a site of one node has no more");
  });

  test("configurations that differ, lag or can't be used", () => {
    const [first] = SITE.nodes as [NodeFacts];
    assert.deepEqual(ills({ nodes: [first, node("node-2", { config: { revision: 8 } })] }), [
      "fail configuration site: nodes differ: revisions node-1 7, node-2 8",
    ]);
    assert.equal(ills({ nodes: [first, node("node-2", { config: { hash: "other" } })] }).length, 1);
    assert.deepEqual(ills({ nodes: [first, node("node-2", { config: { lagMs: 4_200 } })] }), [
      "warn configuration node-2: may be 4.2 s behind",
    ]);
    assert.match(ills({ nodes: [first, node("node-2", { config: { faults: [{}] } })] }).join(), /1 of its entries/);
  });

  test("nodes of two versions", () => {
    const nodes = [node("node-1"), node("node-2", { node: { version: "1.1.0" } })];
    assert.deepEqual(ills({ nodes }), ["warn version site: node-1 1.0.0, node-2 1.1.0"]);
  });

  test("clocks apart count only beyond the doubt of the round trips", () => {
    const late = (time: number, roundTripMs: number) => [
      node("node-1"),
      node("node-2", { node: { time: ASKED + time }, roundTripMs }),
    ];
    assert.deepEqual(ills({ nodes: late(5_000, 10) }), ["warn clocks site: node-2 is at least 5.0 s ahead of node-1"]);
    assert.deepEqual(ills({ nodes: late(5_000, 4_800) }), [], "a slow answer isn't a wrong clock");
    assert.deepEqual(ills({ nodes: late(-5_000, 10) }), ["warn clocks site: node-1 is at least 5.0 s ahead of node-2"]);
    assert.match(ills({ nodes: late(120_000, 10) })[0] ?? "", /^fail clocks/);
  });

  test("etcd with and without its majority", () => {
    const members = (...healthy: boolean[]) =>
      healthy.map((isHealthy, index) => ({ name: `etcd-${index + 1}`, healthy: isHealthy, problem: "gone" }));
    assert.deepEqual(ills({ members: members(true, false, true) }), [
      "fail etcd etcd-2: gone; 2 of 3 are left, and the site works on",
    ]);
    assert.match(ills({ members: members(true, false, false) })[0] ?? "", /1 of 3 are left, 2 are needed/);
    assert.match(ills({ members: members(false) })[0] ?? "", /0 of 1 are left, 1 are needed/);
  });

  test("a balancer that is gone, or doesn't see a ready node", () => {
    assert.deepEqual(ills({ balancers: [{ name: "balancer-2", servers: undefined, problem: "no" }] }), [
      "fail balancer balancer-2: no",
    ]);
    const servers = new Map([
      ["node-1", "UP"],
      ["node-2", "DOWN"],
    ]);
    assert.deepEqual(ills({ balancers: [{ name: "balancer-1", servers }] }), [
      "fail balancer balancer-1: node-2 is ready, and here it is DOWN",
    ]);
  });

  test("an address without SSH, and one of another program", () => {
    const { banner: _, ...silent } = { ...FRONT, problem: "nothing listens there", hostKeys: [], seen: undefined };
    assert.deepEqual(ills({ fronts: [{ ...silent, banner: undefined }] }), [
      "fail SFTP balancer-1 192.0.2.1:2222: nothing listens there",
    ]);
    assert.match(
      ills({ fronts: [{ ...FRONT, banner: "220 ftp", seen: undefined }] })[0] ?? "",
      /no SSH server: "220 ftp"/,
    );
  });

  test("two addresses with different host keys", () => {
    const other = { ...FRONT, name: "balancer-2", hostKeys: ["ssh-ed25519 SHA256:z"] };
    assert.deepEqual(ills({ fronts: [FRONT, other] }), [
      "fail host keys site: balancer-1 and balancer-2 show different ones",
    ]);
  });

  test("a client's address that doesn't come through, and one that can't be asked for", () => {
    const seen = [{ node: "node-1", host: "192.0.2.1", port: 51_000 }];
    assert.deepEqual(ills({ fronts: [{ ...FRONT, seen }] }), [
      "fail client address balancer-1 192.0.2.1:2222: we are 192.0.2.9:40000, and node-1 sees 192.0.2.1:51000",
    ]);
    const sameHost = [{ node: "node-1", host: OURS.host, port: 1 }];
    assert.equal(ills({ fronts: [{ ...FRONT, seen: sameHost }] }).length, 1, "somebody else of our address isn't us");
    assert.deepEqual(ills({ fronts: [{ ...FRONT, seen: undefined }] }), []);
  });

  test("a storage that is gone, nearly full, or not the same everywhere", () => {
    const stored = (storage: NodeStatus["node"]["storage"]) => [node("node-1"), node("node-2", { node: { storage } })];
    assert.deepEqual(ills({ nodes: stored({ healthy: false, problem: "storage: no sentinel" }) }), [
      "fail storage node-2: storage: no sentinel",
    ]);
    assert.deepEqual(ills({ nodes: stored({ healthy: true, freeBytes: 5 * GIB, totalBytes: 100 * GIB }) }), [
      "warn storage node-2: healthy, 5.0 GiB of 100 GiB free",
    ]);
    assert.deepEqual(ills({ nodes: stored({ healthy: true, freeBytes: 50 * GIB, totalBytes: 90 * GIB }) }), [
      "fail storage site: nodes have volumes of different sizes: node-1 100 GiB, node-2 90.0 GiB",
    ]);
    assert.equal(ills({ nodes: stored(null) }).length, 1);
  });

  test("a secret that others may read, and one that is gone", () => {
    const secrets = [
      { path: "/s/token", mode: 0o644 },
      { path: "/s/key", mode: undefined, problem: "ENOENT" },
      { path: "/s", mode: 0o700 },
    ];
    assert.deepEqual(ills({ secrets }), [
      "fail secrets /s/token: open to others (mode 644)",
      "fail secrets /s/key: ENOENT",
    ]);
  });
});
