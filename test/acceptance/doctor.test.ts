import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Finding } from "#cli/doctor/facts.js";
import { EXIT } from "#cli/errors.js";
import { until } from "#lib/testing.js";
import { longshore, type Site, startSite } from "../support/site.js";

/** The doctor before a real site: healthy, then with one fault after the other, each of which it must name and mend. */

interface Diagnosis {
  readonly code: number | null;
  readonly healthy: boolean;
  readonly findings: readonly Finding[];
}

describe("longshore doctor", () => {
  let site: Site;
  const files = mkdtempSync(join(tmpdir(), "longshore-doctor-"));

  before(async () => {
    site = await startSite({ restart: false });
  });
  after(async () => {
    await site?.stop();
    rmSync(files, { recursive: true });
  });

  async function diagnose(...args: readonly string[]): Promise<Diagnosis> {
    const { code, stdout, stderr } = await longshore(["doctor", "--json", "--dir", site.directory, ...args]);
    assert.equal(stderr, "");
    return { code, ...(JSON.parse(stdout) as Omit<Diagnosis, "code">) };
  }

  const ills = ({ findings }: Diagnosis) =>
    findings
      .filter(({ result }) => result !== "ok")
      .map(({ result, check, subject }) => `${result} ${check} ${subject}`);
  const mendOf = ({ findings }: Diagnosis, check: string, subject: string) =>
    findings.find((finding) => finding.check === check && finding.subject === subject && finding.result !== "ok")?.mend;

  test("a healthy site has nothing to mend, and a client's own address arrives", async () => {
    const diagnosis = await diagnose();
    assert.deepEqual(ills(diagnosis), []);
    assert.equal(diagnosis.code, EXIT.ok);
    assert.equal(diagnosis.healthy, true);
    const address = diagnosis.findings.find(({ check }) => check === "client address");
    assert.match(address?.seen ?? "", /^node-\d sees 127\.0\.0\.1:\d+, which is ours$/);
    const trial = diagnosis.findings.find(({ check }) => check === "storage trial");
    assert.match(trial?.seen ?? "", /^3 nodes see each other's files/);
    const { stdout } = await longshore(["doctor", "--dir", site.directory]);
    assert.match(stdout, /^RESULT {2}CHECK {2,}WHERE {2,}SEEN\nok {6}admin API/);
    assert.match(stdout, /\nnothing is wrong\n$/);
  });

  test("the admin API lists a connection by the client's own address and port", async () => {
    const { host, port } = site.endpoints().sftp;
    const socket = connect({ host, port });
    try {
      await new Promise((resolve) => socket.once("data", resolve));
      await until(
        "a node lists the connection",
        async () => {
          const lists = await Promise.all([0, 1, 2].map((index) => site.admin("/api/v1/connections", { node: index })));
          const all = (lists as { connections: { address: string; port: number; account: string | null }[] }[]).flatMap(
            ({ connections }) => connections,
          );
          const ours = all.find((each) => each.port === socket.localPort);
          return ours?.address === "127.0.0.1" && ours.account === null;
        },
        { deadlineMs: 5_000 },
      );
    } finally {
      socket.destroy();
    }
  });

  test("a wrong token is named at every node", async () => {
    const token = join(files, "wrong");
    writeFileSync(token, "wrong\n", { mode: 0o600 });
    const diagnosis = await diagnose("--token-file", token);
    assert.deepEqual(
      ills(diagnosis),
      [1, 2, 3].map((index) => `fail admin API node-${index}`),
    );
    assert.equal(diagnosis.code, EXIT.unhealthy);
    assert.match(mendOf(diagnosis, "admin API", "node-1") ?? "", /adminTokenFile/);
  });

  test("a drained node is a warning, and no failure", async () => {
    await site.admin("/api/v1/nodes/node-1/drain", { method: "POST" });
    await until(
      "the node drains",
      async () => {
        const answer = (await site.admin("/api/v1/status", { node: 0 })) as { node: { state: string } };
        return answer.node.state === "draining";
      },
      { deadlineMs: 5_000 },
    );
    const diagnosis = await diagnose();
    assert.deepEqual(ills(diagnosis), ["warn node node-1"]);
    assert.equal(diagnosis.code, EXIT.ok);
    assert.match(mendOf(diagnosis, "node", "node-1") ?? "", /longshore node undrain node-1/);
    await site.admin("/api/v1/nodes/node-1/undrain", { method: "POST" });
    await until("all is well again", async () => ills(await diagnose()).length === 0, {
      deadlineMs: 10_000,
      everyMs: 250,
    });
  });

  test("a token file that others may read", async () => {
    const { tokenFile } = site.endpoints().admin;
    chmodSync(tokenFile, 0o644);
    const diagnosis = await diagnose();
    assert.deepEqual(ills(diagnosis), [`fail secrets ${tokenFile}`]);
    assert.equal(diagnosis.code, EXIT.unhealthy);
    assert.match(mendOf(diagnosis, "secrets", tokenFile) ?? "", new RegExp(`^chmod go= ${tokenFile};`));
    chmodSync(tokenFile, 0o600);
  });

  test("a killed node", async () => {
    site.killNode(1);
    const diagnosis = await diagnose();
    // Whether HAProxy has noticed by now is its own affair: it says nothing of a node that isn't ready.
    assert.deepEqual(ills(diagnosis), ["fail admin API node-2"]);
    assert.equal(diagnosis.code, EXIT.unhealthy);
    assert.match(mendOf(diagnosis, "admin API", "node-2") ?? "", /start it again.*node-killed/);
    const { stdout } = await longshore(["doctor", "--dir", site.directory]);
    assert.match(stdout, /\nFAIL {4}admin API {2,}node-2 .*nothing listens there/);
    assert.match(stdout, /\nto mend:\n {2}FAIL admin API, node-2: /);
  });

  test("a hung node, beside which the address for partners is well", async () => {
    const pid = site.killNode(2, "SIGSTOP");
    try {
      // Until HAProxy has noticed, a connection may still go to the hung node.
      await until(
        "only the nodes are named",
        async () => {
          const found = ills(await diagnose());
          return found.join() === "fail admin API node-2,fail admin API node-3,warn node site";
        },
        { deadlineMs: 40_000 },
      );
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await site.nodeReady(2);
  });

  test("a store that doesn't answer", async () => {
    const pid = site.endpoints().etcd?.pid ?? 0;
    assert.ok(pid > 0);
    process.kill(pid, "SIGSTOP");
    try {
      await until(
        "a node says that it is cut off",
        async () => {
          const answer = (await site.admin("/api/v1/status", { node: 0 })) as { node: { state: string } };
          return answer.node.state === "cut-off";
        },
        { deadlineMs: 30_000 },
      );
      const diagnosis = await diagnose();
      assert.ok(ills(diagnosis).includes("fail etcd etcd"), ills(diagnosis).join());
      assert.match(mendOf(diagnosis, "node", "node-1") ?? "", /etcd-down/);
      assert.equal(diagnosis.code, EXIT.unhealthy);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });
});

test("where no site runs the doctor says so, with the code for that", async () => {
  const { code, stderr } = await longshore(["doctor", "--dir", join(tmpdir(), "longshore-no-such-site")]);
  assert.equal(code, EXIT.notFound);
  assert.match(stderr, /no site is running in .*longshore up/);
});
