import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { until } from "#lib/testing.js";
import { markName } from "../runner/processes.js";
import { baseImageTag, parseMirrors, pluginSources, slimFiles, staleEngine } from "./engine-plan.js";
import { takeLock } from "./file-lock.js";
import { ensurePackages, which } from "./packages.js";

/**
 * A Docker engine with Compose v2 and a Debian base image, for tests on a bare Debian machine as root: from Debian's
 * packages alone, with no image registry. A running engine is used as it is, on any system.
 *
 * An engine that was started here stays: its cache is what makes the second test quick, and another test process may have
 * found it meanwhile. `systemctl stop docker`, or a SIGTERM to dockerd, ends it.
 */

const LOCK = "/var/lock/longshore-test-engine.lock";
/** Seconds to wait for another test process: it may be installing packages, then unpacking a base system. */
const LOCK_WAIT_S = 600;
const ENGINE_MS = 60_000;
/** A hung engine must not hang us. */
const ASK_MS = 15_000;
const PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose";
const LOG = join(tmpdir(), "longshore-test-dockerd.log");
/** Left over after a crash, they keep dockerd from starting. */
const PID_FILES = ["/var/run/docker.pid", "/var/run/docker/containerd/containerd.pid"];
/** The Debian release whose Compose v2 plugin is taken and whose base image the product builds on. */
const SUITE = "trixie";

function say(text: string): void {
  process.stderr.write(`\n*** test/support/engine: ${text}\n`);
}

function ask(program: string, args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(program, args, { encoding: "utf8", timeout: ASK_MS, killSignal: "SIGKILL" });
}

const engineAnswers = () => ask("docker", ["version", "--format", "{{.Server.Version}}"]).status === 0;
const hasCompose = () => ask("docker", ["compose", "version", "--short"]).status === 0;
const hasImage = (tag: string) => ask("docker", ["image", "inspect", "--format", "{{.Id}}", tag]).status === 0;

/** Only there can programs be installed and an engine be started. */
function isOurs(): boolean {
  return process.getuid?.() === 0 && existsSync("/etc/debian_version") && which("apt-get") !== undefined;
}

/**
 * Resolves when an engine answers, `docker compose` works and the base image is there. Throws with what to do where they
 * aren't and can't be had. Safe in several test processes at once.
 */
export async function ensureEngine(): Promise<void> {
  const tag = baseImageTag(SUITE);
  if (engineAnswers() && hasCompose() && hasImage(tag)) return;
  if (!isOurs()) {
    // An engine that may pull gets its base image from its registry.
    if (engineAnswers() && hasCompose()) return;
    throw new Error(
      "these tests need a Docker engine with Compose v2: start one that `docker compose version` and `docker info` work with, or run as root on Debian",
    );
  }
  const release = takeLock(LOCK, LOCK_WAIT_S);
  try {
    installEngine();
    if (!hasCompose()) installCompose(PLUGIN);
    if (!engineAnswers()) await startEngine();
    if (!hasImage(tag)) makeBaseImage(SUITE);
  } finally {
    release();
  }
}

/** Another suite's base image, as `ensureEngine` makes that of the product's; returns its tag. The engine runs already. */
export function ensureBaseImage(suite: string): string {
  const tag = baseImageTag(suite);
  if (hasImage(tag)) return tag;
  if (!isOurs()) return tag;
  const release = takeLock(LOCK, LOCK_WAIT_S);
  try {
    if (!hasImage(tag)) makeBaseImage(suite);
  } finally {
    release();
  }
  return tag;
}

function installEngine(): void {
  ensurePackages({ dockerd: "docker.io", iptables: "iptables" });
  // From Debian 13 on the command has a package of its own, which Debian 12 doesn't know.
  ensurePackages({ docker: "docker-cli" });
}

function mirrors() {
  return parseMirrors(execFileSync("apt-get", ["indextargets", "--format", "$(SITE)"], { encoding: "utf8" }));
}

/** Debian 13's package holds the Compose v2 plugin; its one binary runs on Debian 12, too. */
function installCompose(target: string): void {
  say("fetching the Compose v2 plugin out of Debian's docker-compose package");
  const work = mkdtempSync(join(tmpdir(), "longshore-compose-plugin-"));
  try {
    for (const part of ["lists/partial", "archives/partial"]) mkdirSync(join(work, part), { recursive: true });
    writeFileSync(join(work, "sources.list"), pluginSources(SUITE, mirrors()));
    const options = [
      `Dir::Etc::SourceList=${join(work, "sources.list")}`,
      "Dir::Etc::SourceParts=/dev/null",
      `Dir::State::Lists=${join(work, "lists")}`,
      `Dir::Cache::Archives=${join(work, "archives")}`,
      // apt's own unprivileged user may not write into our directory.
      "APT::Sandbox::User=root",
    ].flatMap((option) => ["-o", option]);
    const apt = (...args: string[]) =>
      execFileSync("apt-get", ["-q", ...options, ...args], { cwd: work, stdio: ["ignore", 2, 2], timeout: 300_000 });
    apt("update");
    apt("download", "docker-compose");
    const archive = readdirSync(work).find((name) => /^docker-compose_.*\.deb$/.test(name));
    if (archive === undefined) throw new Error("apt-get download docker-compose left no package");
    execFileSync("dpkg", ["-x", archive, "plugin"], { cwd: work, stdio: ["ignore", 2, 2] });
    mkdirSync(dirname(target), { recursive: true });
    const binary = join(work, "plugin/usr/libexec/docker/cli-plugins/docker-compose");
    execFileSync("install", ["-m", "755", binary, target], { stdio: ["ignore", 2, 2] });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function startEngine(): Promise<void> {
  if (existsSync("/run/systemd/system")) {
    say("starting the docker service");
    execFileSync("systemctl", ["start", "docker"], { stdio: ["ignore", 2, 2], timeout: ENGINE_MS });
  } else {
    for (const file of PID_FILES.filter(isStale)) rmSync(file, { force: true });
    say(`starting dockerd, which stays for the next test; its log is ${LOG}`);
    const log = openSync(LOG, "w");
    // Without the test runner's mark, by which it finds what a test file left behind.
    const { [markName]: _, ...env } = process.env;
    spawn(which("dockerd") ?? "dockerd", [], { detached: true, stdio: ["ignore", log, log], env }).unref();
    closeSync(log);
  }
  try {
    await until("the Docker engine answers", engineAnswers, { deadlineMs: ENGINE_MS, everyMs: 250 });
  } catch (error) {
    const end = existsSync(LOG) ? readFileSync(LOG, "utf8").slice(-4_000) : "";
    throw new Error(`the Docker engine did not come up:\n${end}`, { cause: error });
  }
}

function isStale(pidFile: string): boolean {
  if (!existsSync(pidFile)) return false;
  return staleEngine(readFileSync(pidFile, "utf8"), (pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, "utf8");
    } catch {
      return undefined;
    }
  });
}

/** What `debian:<suite>-slim` is, by debootstrap: the minimal variant, without documentation and translations. */
function makeBaseImage(suite: string): void {
  const tag = baseImageTag(suite);
  say(`making ${tag} with debootstrap`);
  const root = makeBaseSystem(suite);
  const archive = `${root}.tar`;
  try {
    execFileSync("tar", ["-C", root, "--numeric-owner", "-cf", archive, "."], { stdio: ["ignore", 2, 2] });
    const changes = ['CMD ["bash"]', "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
    const options = changes.flatMap((change) => ["--change", change]);
    execFileSync("docker", ["import", ...options, archive, tag], { stdio: ["ignore", 2, 2], timeout: 300_000 });
  } finally {
    rmSync(root, { recursive: true, force: true });
    rmSync(archive, { force: true });
  }
}

/** The directory of a slim base system; the caller removes it. */
function makeBaseSystem(suite: string): string {
  const { debootstrap } = ensurePackages({ debootstrap: "debootstrap" });
  const from = mirrors();
  const root = mkdtempSync(join(tmpdir(), "longshore-base-image-"));
  try {
    const args = ["--variant=minbase", "--include=ca-certificates", suite, root, from.main];
    const made = spawnSync(debootstrap, args, { encoding: "utf8", timeout: 600_000, maxBuffer: 64 * 1024 * 1024 });
    if (made.status !== 0) throw new Error(`debootstrap ${suite} failed:\n${made.stdout?.slice(-3_000)}${made.stderr}`);
    const { emptied, removed, written } = slimFiles(suite, from);
    for (const directory of emptied) {
      for (const name of readdirSync(join(root, directory)))
        rmSync(join(root, directory, name), { recursive: true, force: true });
    }
    for (const { directory, ending } of removed) {
      for (const name of readdirSync(join(root, directory)))
        if (name.endsWith(ending)) rmSync(join(root, directory, name));
    }
    for (const [path, text] of Object.entries(written)) writeFileSync(join(root, path), text);
    return root;
  } catch (error) {
    rmSync(root, { recursive: true, force: true });
    throw error;
  }
}
