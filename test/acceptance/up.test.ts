import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Endpoints } from "#cli/endpoints.js";
import { EXIT } from "#cli/errors.js";
import { until } from "#lib/testing.js";
import { ensureClients } from "../support/clients/install.js";
import { run, succeeded } from "../support/clients/run.js";
import { LONGSHORE, longshore, randomBlock, type Site, startSite } from "../support/site.js";

/** `longshore up` and `down`, as a user meets them: real etcd, HAProxy, Prometheus, nodes, and OpenSSH's client. */

const SOON = { deadlineMs: 30_000 };
const directories: string[] = [];
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

function newDirectory(name = "up"): string {
  const directory = mkdtempSync(join(tmpdir(), `longshore-${name}-`));
  directories.push(directory);
  return directory;
}

/** Everything on this machine that has the directory on its command line, this test's own commands aside. */
function processesOf(directory: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
      if (command.includes(directory)) found.push(`${pid} ${command}`);
    } catch {
      // It has just ended.
    }
  }
  return found;
}

/** The line that the panel gives to paste, run in batch mode. */
async function pastedSftp(directory: string, commands: readonly string[]) {
  const shown = succeeded(await longshore(["endpoints", "--dir", directory]));
  const line = shown.stdout.split("\n").find((each) => each.trim().startsWith("sftp "));
  assert.ok(line, shown.stdout);
  const batch = line.trim().replace(/^sftp /, "sftp -b - -o BatchMode=yes -o StrictHostKeyChecking=yes ");
  return run("sh", ["-c", batch], { input: `${commands.join("\n")}\n` });
}

describe("a site that longshore up started", { timeout: 600_000 }, () => {
  let site: Site;
  let directory: string;
  const local = newDirectory("files");
  before(async () => {
    ensureClients("sftp");
    site = await startSite({ prometheus: true });
    directory = site.directory;
    writeFileSync(join(local, "invoice"), "a partner's file");
  });
  after(() => site?.stop());

  test("says in endpoints.json where everything is", async () => {
    const found = site.endpoints();
    assert.deepEqual(JSON.parse(readFileSync(join(directory, "endpoints.json"), "utf8")), found);
    assert.equal(found.sftp.host, "127.0.0.1");
    assert.deepEqual(
      found.nodes.map(({ name }) => name),
      ["node-1", "node-2", "node-3"],
    );
    const { nodes } = (await site.admin("/api/v1/nodes")) as { nodes: { id: string }[] };
    assert.deepEqual(found.nodes.map(({ id }) => id).sort(), nodes.map(({ id }) => id).sort());
    for (const url of [
      found.haproxy?.metricsUrl,
      found.haproxy?.statsUrl,
      ...found.nodes.map((node) => node.metricsUrl),
    ])
      assert.equal((await fetch(url ?? "")).status, 200, url);
    assert.equal(found.etcd?.endpoints.length, 1);
    assert.ok(existsSync(found.storage.path));
  });

  test("keeps its secrets to the user who started it", () => {
    const { admin, accounts } = site.endpoints();
    const secret = [
      admin.tokenFile,
      ...accounts.map(({ privateKeyFile }) => privateKeyFile),
      ...["endpoints.json", "secrets/cluster-key", "accounts/partner/password"].map((name) => join(directory, name)),
    ];
    for (const file of secret) assert.equal(statSync(file).mode & 0o777, 0o600, file);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
  });

  test("takes the pasted sftp line, with the site's host key known", async () => {
    succeeded(await pastedSftp(directory, [`put ${local}/invoice`, `get invoice ${local}/back`]));
    assert.equal(readFileSync(join(local, "back"), "utf8"), "a partner's file");
  });

  test("is scraped by Prometheus, all of it", async () => {
    const url = site.endpoints().prometheus?.url ?? "";
    await until(
      "all targets are up",
      async () => {
        const { data } = (await (await fetch(`${url}/api/v1/targets`)).json()) as {
          data: { activeTargets: { health: string }[] };
        };
        return data.activeTargets.length === 6 && data.activeTargets.every(({ health }) => health === "up");
      },
      SOON,
    );
  });

  test("starts a killed node again, and endpoints.json has its new pid", async () => {
    const before = site.killNode(1);
    await site.nodeReady(1, before);
    assert.notEqual(site.pid(1), before);
    succeeded(await pastedSftp(directory, ["ls -l invoice"]));
  });

  test("starts a killed HAProxy and a killed etcd again", async () => {
    for (const name of ["haproxy", "etcd"] as const) {
      const before = site.endpoints()[name]?.pid ?? 0;
      process.kill(before, "SIGKILL");
      await until(`${name} is back`, () => ![before, null].includes(site.endpoints()[name]?.pid ?? null), SOON);
    }
    await Promise.all([0, 1, 2].map((index) => site.nodeReady(index)));
    await until("partners are served", async () => (await pastedSftp(directory, ["ls -l invoice"])).code === 0, SOON);
  });

  test("refuses a second up in its directory, and goes on", async () => {
    const second = await longshore(["up", "--json", "--dir", directory]);
    assert.equal(second.code, EXIT.alreadyRunning);
    assert.match(second.stderr, /already running/);
    succeeded(await pastedSftp(directory, ["ls"]));
  });

  test("keeps its ports: another site with the same ones is refused, by port and option", async () => {
    const other = newDirectory();
    const { port } = site.endpoints().sftp;
    const refused = await longshore(["up", "--json", "--dir", other, "--base-port", String(port)]);
    assert.equal(refused.code, EXIT.portTaken);
    assert.match(refused.stderr, new RegExp(`port ${port} .*--base-port`));
    assert.deepEqual(processesOf(other), []);
  });

  test("is administered by the command line", async () => {
    const cli = (...args: string[]) => longshore([...args, "--dir", directory]);
    const made = JSON.parse(succeeded(await cli("account", "add", "acme", "--home", "a/c", "-o", "json")).stdout);
    assert.ok(made.password.length >= 16);
    assert.equal((await cli("account", "add", "acme")).code, EXIT.conflict);
    assert.match(succeeded(await cli("account", "list")).stdout, /^acme +true +a\/c/m);
    assert.equal(JSON.parse(succeeded(await cli("account", "show", "acme", "-o", "json")).stdout).home, "a/c");
    succeeded(await cli("account", "remove", "acme"));
    assert.equal((await cli("account", "show", "acme")).code, EXIT.notFound);
    assert.match(succeeded(await cli("status")).stdout, /^3 nodes/);
    assert.equal((await cli("node", "drain", "node-9")).code, EXIT.notFound);
    const idle = await cli("node", "drain", "node-1", "--wait");
    assert.equal(idle.code, EXIT.ok, idle.stderr);
    assert.match(idle.stderr, /node-1: 0 transfers, 0 sessions left\n$/);
    assert.equal((await cli("node", "undrain", "node-1")).code, EXIT.ok);
    assert.equal((await cli("account", "add", "no slash/es")).code, EXIT.usage);
    assert.equal((await cli("nonsense")).code, EXIT.usage);
  });

  test("is gone after down, and down again is no error", async () => {
    await site.down();
    assert.deepEqual(processesOf(directory), []);
    assert.ok(!existsSync(join(directory, "endpoints.json")));
    assert.deepEqual(readdirSync(join(directory, "run")), []);
    const again = succeeded(await longshore(["down", "--dir", directory]));
    assert.match(again.stdout, /no site is running/);
    assert.equal((await longshore(["status", "--dir", directory])).code, EXIT.notFound);
  });

  test("has its accounts, files and host keys again after the next up", async () => {
    const known = readFileSync(join(directory, "known_hosts"), "utf8");
    await site.up();
    assert.equal(readFileSync(join(directory, "known_hosts"), "utf8"), known);
    succeeded(await pastedSftp(directory, [`get invoice ${local}/again`]));
    assert.equal(readFileSync(join(local, "again"), "utf8"), "a partner's file");
  });

  test("whose supervisor was killed is stopped by down all the same", async () => {
    process.kill(site.endpoints().supervisor.pid, "SIGKILL");
    assert.notDeepEqual(processesOf(directory), []);
    await site.down();
    assert.deepEqual(processesOf(directory), []);
  });

  test("whose supervisor was killed is cleaned up by the next up", async () => {
    const { supervisor } = await site.up();
    process.kill(supervisor.pid, "SIGKILL");
    const before = site.endpoints();
    const now = await site.up();
    const pids = ({ nodes }: Endpoints) => nodes.map(({ pid }) => pid);
    assert.ok(pids(now).every((pid) => !pids(before).includes(pid)));
    assert.ok(pids(before).every((pid) => !existsSync(`/proc/${pid}`)));
    succeeded(await pastedSftp(directory, ["ls -l invoice"]));
  });
});

describe("longshore up", { timeout: 300_000 }, () => {
  test("without etcd and HAProxy: a standalone site of one node", async () => {
    const site = await startSite({ standalone: true, accounts: ["one", "two"] });
    try {
      const found = site.endpoints();
      assert.deepEqual([found.etcd, found.haproxy, found.prometheus], [undefined, undefined, undefined]);
      assert.deepEqual(
        found.accounts.map(({ name }) => name),
        ["one", "two"],
      );
      succeeded(await pastedSftp(site.directory, ["put /etc/hostname hostname"]));
      const before = site.killNode(0);
      await site.nodeReady(0, before);
      succeeded(await pastedSftp(site.directory, ["ls -l hostname"]));
      assert.equal((await longshore(["up", "--json", "--nodes", "3", "--dir", site.directory])).code, EXIT.usage);
    } finally {
      await site.stop();
    }
    assert.deepEqual(processesOf(site.directory), []);
  });

  test("with --no-restart leaves a killed node dead, until it is started by hand", async () => {
    const site = await startSite({ nodes: 2, restart: false });
    try {
      site.killNode(0);
      await until("the node is gone", () => site.node(0).pid === null, SOON);
      succeeded(await pastedSftp(site.directory, ["ls"]));
      await site.startNode(0);
    } finally {
      await site.stop();
    }
    assert.deepEqual(processesOf(site.directory), []);
  });

  test("that can't start a node says what the node said, and leaves nothing running", async () => {
    const directory = newDirectory();
    const first = await startSite({ dir: directory, standalone: true });
    await first.stop();
    writeFileSync(join(directory, "secrets", "cluster-key"), "no key at all\n");
    const failed = await longshore(["up", "--json", "--dir", directory, "--base-port", String(randomBlock())]);
    assert.equal(failed.code, EXIT.failed);
    assert.equal(failed.stdout, "");
    assert.match(failed.stderr, /node-1 ended \(exit code \d+\)[\s\S]*cluster-key|clusterKeyFile/);
    assert.deepEqual(processesOf(directory), []);
    assert.deepEqual(readdirSync(join(directory, "run")), []);
  });

  test("killed before the site was ready leaves nothing running", async () => {
    const directory = newDirectory();
    const args = [
      LONGSHORE,
      "up",
      "--json",
      "--no-prometheus",
      "--dir",
      directory,
      "--base-port",
      String(randomBlock()),
    ];
    const starter = spawn(process.execPath, args, { stdio: "ignore" });
    const runs = join(directory, "run");
    await until("it starts nodes", () => existsSync(join(runs, "node-1.json")), { ...SOON, everyMs: 1 });
    assert.ok(!existsSync(join(directory, "endpoints.json")), "it isn't ready yet");
    starter.kill("SIGKILL");
    await until("all has ended", () => readdirSync(runs).length === 0 && processesOf(directory).length === 0, SOON);
  });

  test("in the foreground shows where to connect, and Ctrl-C stops it", async () => {
    const directory = newDirectory();
    const args = [LONGSHORE, "up", "--no-prometheus", "--dir", directory, "--base-port", String(randomBlock())];
    const site: ChildProcess = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let shown = "";
    site.stdout?.on("data", (data: Buffer) => {
      shown += data.toString("utf8");
    });
    const ended = new Promise<number | null>((resolve) => site.once("exit", (code) => resolve(code)));
    try {
      await until("the panel is there", () => shown.includes("Ctrl-C"), { deadlineMs: 120_000 });
      assert.match(shown, /^ {2}sftp -i .* partner@127\.0\.0\.1$/m);
      succeeded(await pastedSftp(directory, ["ls"]));
      // Twice at once, as npm passes on what its child got from the terminal already.
      site.kill("SIGINT");
      site.kill("SIGINT");
      assert.equal(await ended, EXIT.ok);
      assert.deepEqual(processesOf(directory), []);
    } finally {
      await longshore(["down", "--dir", directory]);
    }
  });
});
