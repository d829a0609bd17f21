import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "#lib/testing.js";
import { pullCable } from "./cable.js";
import { type Outcome, report, run, succeeded, tell } from "./clients/run.js";
import { docker, ROOT, takenNetworks } from "./compose.js";
import { guard, removeLabelled } from "./compose-cleanup.js";
import { composeEnvironment, freeNet } from "./compose-plan.js";
import { ensureBaseImage, ensureEngine } from "./engine.js";
import { takeLock } from "./file-lock.js";
import {
  controllerContext,
  controllerImage,
  type HostRecap,
  type InventoryHost,
  type InventoryOptions,
  machineContext,
  machineFlags,
  machineImage,
  parseRecap,
  renderInventory,
  type Suite,
  WANTED_DEVICES,
} from "./machines-plan.js";
import { ensurePackages } from "./packages.js";
import { freePort } from "./ports.js";

/**
 * "Machines" for tests of Ansible: containers with systemd as the first process and sshd, on a network of their own, and
 * playbooks run against them over SSH by Debian's ansible. Reached from this host through ports of 127.0.0.1 only.
 */

const LABEL = "longshore.lab";
const CONTEXT_LABEL = "longshore.lab.context";
const LOCK = "/var/lock/longshore-test-machines.lock";
/** Another test process may be building the image. */
const LOCK_WAIT_S = 900;
const BUILD_MS = 600_000;
const BOOT_MS = 60_000;
const PLAYBOOK_MS = 900_000;
/** First host number of the machines; those below are the bridge's, those from 200 on free for virtual addresses. */
const FIRST_HOST = 11;

export interface LabOptions {
  /** Their names: short, letters, digits and `-`. */
  readonly machines: readonly string[];
  /** One volume in every machine at /srv/longshore: shared storage that is mounted already. Default true. */
  readonly sharedStorage?: boolean;
  /** First part of names. Default `longshore-lab`. */
  readonly prefix?: string;
  /** Of the machines' system. Default bookworm. */
  readonly suite?: Suite;
  /** Whose Ansible runs the playbooks, in a container: of Debian 13, core 2.19. Default: this host's own. */
  readonly controller?: "trixie";
  /** The machines have IPv6 besides IPv4, and know each other by that alone. */
  readonly ipv6?: boolean;
}

/** Host numbers of the forwards: sixteen, a network of their own for firewalls. */
const FIRST_FORWARD = 240;
const VIRTUAL = 200;

export interface PlaybookOutcome extends Outcome {
  /** By host, as in the recap. */
  readonly hosts: ReadonlyMap<string, HostRecap>;
  /** Over all hosts. */
  readonly changed: number;
}

export class Lab {
  /** Images and machines, up to sshd's answer. */
  upMs = 0;
  readonly #hosts = new Map<string, InventoryHost>();
  /** Pulled cables, by machine: how to plug them in again. */
  readonly #pulled = new Map<string, () => void>();
  /** Places given away: an address has one owner in a lab's life. */
  #machinesEver = 0;
  #forwards = 0;
  #playbooks = 0;
  /** A unique local one (RFC 4193), for labs with IPv6. */
  readonly #net6 = `fd${randomBytes(5)
    .toString("hex")
    .replace(/^(..)(....)(....)$/, "$1:$2:$3")}::`;
  #removed = false;
  #lastWords = "";

  private constructor(
    /** Of its containers, network and volume. */
    readonly name: string,
    /** The first three bytes of its network; the host numbers from 200 on are free for virtual addresses. */
    readonly net: string,
    /** A scratch directory: SSH key, known hosts, inventories, logs of playbooks. */
    readonly directory: string,
    readonly options: LabOptions,
  ) {
    process.once("exit", () => {
      if (process.exitCode === undefined || process.exitCode === 0) return;
      report(this.#removed ? this.#lastWords : this.logTails());
    });
  }

  /** Resolves when every machine has booted and takes SSH logins. */
  static async start(options: LabOptions): Promise<Lab> {
    const begun = performance.now();
    await ensureEngine();
    ensurePackages({ "ansible-playbook": "ansible", ssh: "openssh-client", "ssh-keygen": "openssh-client" });
    const suite = options.suite ?? "bookworm";
    await ensureImage(machineImage(suite), machineContext(ensureBaseImage(suite)));
    const name = `${options.prefix ?? "longshore-lab"}-${randomBytes(3).toString("hex")}`;
    const lab = new Lab(
      name,
      freeNet(takenNetworks(), Math.random()),
      mkdtempSync(join(tmpdir(), `${name}-`)),
      options,
    );
    guard(`${LABEL}=${name}`, [lab.directory]);
    try {
      const subnets = [
        "--subnet",
        `${lab.net}.0/24`,
        ...(options.ipv6 === true ? ["--ipv6", "--subnet", `${lab.#net6}/64`] : []),
      ];
      docker("network", "create", "--label", `${LABEL}=${name}`, ...subnets, name);
      if (options.sharedStorage ?? true) docker("volume", "create", "--label", `${LABEL}=${name}`, name);
      succeeded(await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", lab.keyFile]));
      mkdirSync(join(lab.directory, "inventory"), { mode: 0o700 });
      if (options.controller !== undefined) await lab.#startController(options.controller);
      await Promise.all(options.machines.map((machine) => lab.#up(machine)));
      lab.upMs = performance.now() - begun;
      return lab;
    } catch (error) {
      report(lab.logTails());
      await lab.remove();
      throw error;
    }
  }

  get keyFile(): string {
    return join(this.directory, "id_ed25519");
  }

  get knownHostsFile(): string {
    return join(this.directory, "known_hosts");
  }

  get machines(): readonly string[] {
    return [...this.#hosts.keys()];
  }

  /** On the machines' network. */
  address(machine: string): string {
    return this.#host(machine).address;
  }

  container(machine: string): string {
    return `${this.name}-${machine}`;
  }

  /** A further machine, in the next free place. */
  async add(machine: string): Promise<void> {
    await this.#up(machine);
  }

  /** A command in a machine, past its network; whatever comes of it. */
  exec(machine: string, ...command: string[]): Promise<Outcome> {
    return run("docker", ["exec", this.container(machine), ...command], { deadlineMs: 120_000 });
  }

  /** A line of shell in a machine. Returns what it printed; throws unless it ends with 0. */
  async sh(machine: string, script: string): Promise<string> {
    return succeeded(await this.exec(machine, "sh", "-c", script)).stdout.trimEnd();
  }

  /** A file in a machine, root's. */
  async write(machine: string, path: string, text: string, mode = "0644"): Promise<void> {
    const script = 'install -D -m "$1" /dev/stdin "$2"';
    const args = ["exec", "-i", this.container(machine), "sh", "-c", script, "sh", mode, path];
    succeeded(await run("docker", args, { input: text }));
  }

  /** As when its power goes, but that the kernel says goodbye to its peers; pull the cable first where it must not. */
  kill(machine: string): void {
    docker("kill", this.container(machine));
  }

  /** Boots a machine that was killed; what its disk held is there. */
  async boot(machine: string): Promise<void> {
    docker("start", this.container(machine));
    await this.#booted(machine);
  }

  pause(machine: string): void {
    docker("pause", this.container(machine));
  }

  unpause(machine: string): void {
    docker("unpause", this.container(machine));
  }

  /** Removes a machine for good, with its disk. A new one of that name may be added, in a new place. */
  destroy(machine: string): void {
    this.#pulled.delete(machine);
    docker("rm", "--force", "--volumes", this.container(machine));
    this.#hosts.delete(machine);
  }

  /** No goodbye, no reset, on its network; `exec` still works, published ports don't. Undone by `plugIn`. */
  pullCable(machine: string): void {
    const pid = Number(docker("inspect", "--format", "{{.State.Pid}}", this.container(machine)));
    this.#pulled.set(machine, pullCable(pid));
  }

  plugIn(machine: string): void {
    this.#pulled.get(machine)?.();
    this.#pulled.delete(machine);
  }

  /**
   * Opens a port of 127.0.0.1 that leads to `host:port` on the machines' network, by a client container there: so partners'
   * programs on this host reach a virtual address, and no packet can leave the host when the network is gone.
   */
  async forward(host: string, port: number): Promise<number> {
    const local = await freePort();
    this.#forwards += 1;
    const target = host.includes(":") ? `TCP6:[${host}]:${port}` : `TCP4:${host}:${port}`;
    docker(
      ...["run", "--detach", "--name", `${this.name}-forward-${this.#forwards}`, "--label", `${LABEL}=${this.name}`],
      ...["--network", this.name, ...this.#places(FIRST_FORWARD - 1 + this.#forwards)],
      ...["--init", "--publish", `127.0.0.1:${local}:7000`, this.#image],
      // A dead address is found out as soon as a client would find it out itself.
      ...["socat", "TCP-LISTEN:7000,fork,reuseaddr,backlog=256,nodelay", `${target},connect-timeout=5,nodelay`],
    );
    return local;
  }

  /** Where forwards come from, for firewalls that have to let them in. */
  get forwards(): readonly string[] {
    const net6 = `${this.#address6(FIRST_FORWARD)}/124`;
    return [`${this.net}.${FIRST_FORWARD}/28`, ...(this.options.ipv6 === true ? [net6] : [])];
  }

  /** Free on the machines' network: of the family by which the machines know each other first. */
  get virtualAddresses(): readonly string[] {
    const own = `${this.net}.${VIRTUAL}`;
    return this.options.ipv6 === true ? [this.#address6(VIRTUAL), own] : [own];
  }

  /** Writes an inventory in a directory of its own (beside it: `group_vars`, secrets) and returns the file. */
  writeInventory(name: string, options: InventoryOptions): string {
    const directory = join(this.directory, "inventory", name);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, "hosts.yml");
    const hosts = [...this.#hosts.values()];
    writeFileSync(file, renderInventory(hosts, options, this));
    return file;
  }

  /** Runs `ansible/playbooks/<name>.yml`, whatever comes of it. */
  async playbook(inventory: string, name: string, args: readonly string[] = []): Promise<PlaybookOutcome> {
    const playbook = join(ROOT, "ansible/playbooks", `${name}.yml`);
    const command = [...this.#onController(), "ansible-playbook", "-i", inventory, playbook, ...args];
    const outcome = await run("env", command, {
      cwd: join(ROOT, "ansible"),
      env: this.ansibleEnvironment(),
      deadlineMs: PLAYBOOK_MS,
    });
    this.#playbooks += 1;
    const log = `playbook-${String(this.#playbooks).padStart(2, "0")}-${name}.log`;
    writeFileSync(join(this.directory, log), `${outcome.stdout}\n${outcome.stderr}`);
    const hosts = parseRecap(outcome.stdout);
    return { ...outcome, hosts, changed: [...hosts.values()].reduce((sum, host) => sum + host.changed, 0) };
  }

  /** What ansible's programs are run with, apart from what the developer's own are set to. */
  ansibleEnvironment(): NodeJS.ProcessEnv {
    const own = composeEnvironment(process.env, {});
    return {
      ...Object.fromEntries(Object.entries(own).filter(([name]) => !name.startsWith("ANSIBLE_"))),
      LC_ALL: "C.UTF-8",
      ANSIBLE_CONFIG: join(ROOT, "ansible/ansible.cfg"),
      ANSIBLE_NOCOLOR: "1",
      ANSIBLE_LOCAL_TEMP: join(this.directory, "tmp"),
      ANSIBLE_SSH_CONTROL_PATH_DIR: this.#controlDirectory,
    };
  }

  /** The end of what each playbook printed, and the units that failed. */
  logTails(): string {
    const logs = readdirOrNothing(this.directory).filter((name) => name.endsWith(".log"));
    const last = logs.sort().slice(-2);
    const tails = last.map(
      (name) => `--- end of ${name}\n${readFileSync(join(this.directory, name), "utf8").slice(-6_000)}`,
    );
    return [`--- machines of ${this.name}: ${this.machines.join(", ")}`, ...tails].join("\n");
  }

  /** Everything goes. Idempotent. */
  async remove(): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    for (const restore of this.#pulled.values()) restore();
    // Ansible leaves its connections open for the next run.
    for (const socket of readdirOrNothing(this.#controlDirectory))
      await run("ssh", ["-O", "exit", "-o", `ControlPath=${join(this.#controlDirectory, socket)}`, "none"]);
    removeLabelled(`${LABEL}=${this.name}`, [this.directory]);
  }

  /** Call it in `after`. The last playbooks' words are printed if a test of this process failed. */
  async stop(): Promise<void> {
    if (!this.#removed) this.#lastWords = this.logTails();
    await this.remove();
  }

  /** With this host's network, engine, checkout and scratch directory, all where they are here. */
  async #startController(suite: Suite): Promise<void> {
    const image = controllerImage(suite);
    await ensureImage(image, controllerContext(ensureBaseImage(suite)));
    const shared = [ROOT, this.directory, "/var/run/docker.sock", "/etc/ssl/certs"];
    docker(
      ...["run", "--detach", "--name", this.container("controller"), "--label", `${LABEL}=${this.name}`],
      ...["--network", "host", "--init", ...shared.flatMap((path) => ["--volume", `${path}:${path}`])],
      ...[image, "sleep", "infinity"],
    );
    report(succeeded(await this.exec("controller", "ansible", "--version")).stdout.split("\n")[0] ?? "");
  }

  /** What comes before a command of Ansible's. */
  #onController(): readonly string[] {
    if (this.options.controller === undefined) return [];
    const names = Object.keys(this.ansibleEnvironment()).filter((name) => /^(ANSIBLE_|LC_ALL$)/.test(name));
    const settings = names.flatMap((name) => ["--env", name]);
    return ["docker", "exec", "--workdir", join(ROOT, "ansible"), ...settings, this.container("controller")];
  }

  get #image(): string {
    return machineImage(this.options.suite ?? "bookworm");
  }

  #address6(place: number): string {
    return `${this.#net6}${place.toString(16)}`;
  }

  /** What gives a container its place on the network. */
  #places(place: number): string[] {
    return ["--ip", `${this.net}.${place}`, ...(this.options.ipv6 === true ? ["--ip6", this.#address6(place)] : [])];
  }

  get #controlDirectory(): string {
    return join(this.directory, "ssh");
  }

  #host(machine: string): InventoryHost {
    const host = this.#hosts.get(machine);
    if (host === undefined) throw new Error(`the lab has no machine ${machine}`);
    return host;
  }

  async #up(machine: string): Promise<void> {
    const place = FIRST_HOST + this.#machinesEver++;
    const address = this.options.ipv6 === true ? this.#address6(place) : `${this.net}.${place}`;
    const sshPort = await freePort();
    this.#hosts.set(machine, { name: machine, address, sshPort });
    const container = this.container(machine);
    const shared = (this.options.sharedStorage ?? true) ? ["--volume", `${this.name}:/srv/longshore`] : [];
    docker(
      ...["create", "--name", container, "--hostname", machine, "--label", `${LABEL}=${this.name}`],
      ...["--network", this.name, ...this.#places(place), "--network-alias", machine],
      ...["--publish", `127.0.0.1:${sshPort}:22`, ...shared, ...machineFlags(hostFacts()), this.#image],
    );
    docker("cp", `${this.keyFile}.pub`, `${container}:/root/.ssh/authorized_keys`);
    docker("start", container);
    await this.#booted(machine);
    // `docker cp` keeps the owner's number.
    await this.sh(machine, "chown root:root /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys");
    const key = await this.sh(machine, "cat /etc/ssh/ssh_host_ed25519_key.pub");
    writeFileSync(this.knownHostsFile, `[127.0.0.1]:${sshPort} ${key}\n`, { flag: "a" });
  }

  async #booted(machine: string): Promise<void> {
    let last: Outcome | undefined;
    try {
      await until(
        `${machine} has booted`,
        async () => {
          last = await this.exec(machine, "systemctl", "is-system-running");
          if (!["running", "degraded"].includes(last.stdout.trim())) return false;
          return (await this.exec(machine, "systemctl", "is-active", "ssh.service")).code === 0;
        },
        { deadlineMs: BOOT_MS, everyMs: 100 },
      );
    } catch (error) {
      throw new Error(last === undefined ? `${machine} didn't boot` : tell(last), { cause: error });
    }
    // As systemd has it on a machine that isn't a container: what is mounted later is seen in containers that run on it.
    await this.sh(machine, "mount --make-rshared /");
  }
}

function hostFacts() {
  const bound = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return {
    capabilityBound: BigInt(`0x${bound}`),
    cgroupVersion: docker("info", "--format", "{{.CgroupVersion}}"),
    devices: WANTED_DEVICES.filter((device) => existsSync(device)),
  };
}

/** Builds an image of the lab's own where it isn't there as it should be. The build needs no registry. */
async function ensureImage(image: string, context: Readonly<Record<string, string>>): Promise<void> {
  const hash = createHash("sha256").update(JSON.stringify(context)).digest("hex").slice(0, 16);
  const isThere = async () => {
    const format = `{{index .Config.Labels "${CONTEXT_LABEL}"}}`;
    const { code, stdout } = await run("docker", ["image", "inspect", "--format", format, image]);
    return code === 0 && stdout.trim() === hash;
  };
  if (await isThere()) return;
  const release = takeLock(LOCK, LOCK_WAIT_S);
  const directory = mkdtempSync(join(tmpdir(), "longshore-machine-image-"));
  try {
    if (await isThere()) return;
    for (const [name, text] of Object.entries(context)) writeFileSync(join(directory, name), text);
    const build = { context: directory, labels: { [CONTEXT_LABEL]: hash } };
    const file = join(directory, "compose.json");
    writeFileSync(file, JSON.stringify({ name: "longshore-lab", services: { machine: { image, build } } }));
    succeeded(await run("docker", ["compose", "--file", file, "build", "--quiet"], { deadlineMs: BUILD_MS }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
    release();
  }
}

function readdirOrNothing(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
