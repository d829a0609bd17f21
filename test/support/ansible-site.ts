import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { addAccountEverywhere, askThrough, type SiteRequest } from "./admin-api.js";
import type { PartnerSite } from "./clients/partner.js";
import { report, tell } from "./clients/run.js";
import { buildSettings, IMAGE_TAG, type NodeRecord } from "./compose.js";
import { Lab, type LabOptions, type PlaybookOutcome } from "./machines.js";
import { changedTasks } from "./machines-plan.js";
import type { NewAccount } from "./site.js";

/** A site on machines of a lab, installed and changed by the real playbooks, used through its virtual address. */

const PARTNER_PORT = 2222;
const ADMIN_PORT = 8080;
const CONVERGED_MS = 20_000;

export interface AnsibleSiteOptions {
  readonly etcd: readonly string[];
  readonly nodes: readonly string[];
  readonly balancers: readonly string[];
  readonly monitoring?: readonly string[];
  /** Machines that are in no group at first. */
  readonly spare?: readonly string[];
  /** What the machines are. */
  readonly lab?: Omit<LabOptions, "machines">;
  /** Of the inventory, besides those that every test has. */
  readonly vars?: Readonly<Record<string, unknown>>;
}

interface Groups {
  readonly longshore_etcd: readonly string[];
  readonly longshore_nodes: readonly string[];
  readonly longshore_balancers: readonly string[];
  readonly longshore_monitoring: readonly string[];
}

export class AnsibleSite implements PartnerSite {
  inventory = "";
  #front: number | undefined;
  /** Ports of this host that lead to the nodes' admin ports. */
  readonly #adminPorts = new Map<string, number>();

  private constructor(
    readonly lab: Lab,
    readonly options: AnsibleSiteOptions,
  ) {
    this.write();
  }

  /** Machines and an inventory; nothing is installed yet. */
  static async prepare(options: AnsibleSiteOptions): Promise<AnsibleSite> {
    const { etcd, nodes, balancers, monitoring = [], spare = [] } = options;
    const machines = [...new Set([...etcd, ...nodes, ...balancers, ...monitoring, ...spare])];
    const site = new AnsibleSite(await Lab.start({ machines, ...options.lab }), options);
    report(`${machines.length} machines up after ${(site.lab.upMs / 1000).toFixed(1)} s`);
    return site;
  }

  /** A site that runs and takes partners. */
  static async install(options: AnsibleSiteOptions): Promise<AnsibleSite> {
    const site = await AnsibleSite.prepare(options);
    try {
      await site.play("site");
      await site.open();
      return site;
    } catch (error) {
      await site.stop();
      throw error;
    }
  }

  /** The first of them. */
  get virtualAddress(): string {
    return this.lab.virtualAddresses[0] ?? "";
  }

  /** The inventory anew, with other groups than at first where some are given. The slot is the machine's place in the lab. */
  write(groups: Partial<Groups> = {}): void {
    const { etcd, nodes, balancers, monitoring = [], vars } = this.options;
    const all: Groups = {
      longshore_etcd: etcd,
      longshore_nodes: nodes,
      longshore_balancers: balancers,
      longshore_monitoring: monitoring,
      ...groups,
    };
    this.inventory = this.lab.writeInventory("site", {
      groups: { ...all },
      hostVars: Object.fromEntries(this.lab.machines.map((name, index) => [name, { longshore_node_slot: index + 1 }])),
      vars: {
        longshore_site: "harbour",
        // Images that compose's tests have built from this checkout, or build them now.
        longshore_version: IMAGE_TAG,
        longshore_image_source: "build",
        longshore_build_environment: buildSettings(),
        longshore_virtual_addresses: this.lab.virtualAddresses,
        longshore_drain_seconds: 5,
        // The tests administer from outside.
        longshore_firewall_trusted: this.lab.forwards,
        ...vars,
      },
    });
  }

  /** Runs a playbook, reports its time, and throws with its last words where it fails. */
  async play(name: string, ...args: string[]): Promise<PlaybookOutcome> {
    const outcome = await this.lab.playbook(this.inventory, name, args);
    report(`ansible ${name} ${args.join(" ")}: ${(outcome.ms / 1000).toFixed(0)} s, changed=${outcome.changed}`);
    if (outcome.code !== 0) throw new Error(tell(outcome));
    return outcome;
  }

  /** What changed, to be compared with nothing. */
  changes(outcome: PlaybookOutcome): string[] {
    return changedTasks(outcome.stdout);
  }

  /** Opens the way from this host to a virtual address; partners go there from then on. */
  async open(address = this.virtualAddress): Promise<void> {
    this.#front = await this.lab.forward(address, PARTNER_PORT);
  }

  endpoints(): { readonly sftp: { readonly host: string; readonly port: number } } {
    if (this.#front === undefined) throw new Error("open() comes first");
    return { sftp: { host: "127.0.0.1", port: this.#front } };
  }

  node(): never {
    throw new Error("partners reach the nodes of this site through its balancers only");
  }

  /** A file of the controller's directory of secrets. */
  secret(...parts: readonly string[]): string {
    return join(dirname(this.inventory), "secrets", ...parts);
  }

  /** The JSON that a node's admin API answers with, its certificate checked. Throws with what it says unless it is 2xx. */
  async admin(
    path: string,
    { machine = this.options.nodes[0] ?? "", ...request }: SiteRequest & { readonly machine?: string } = {},
  ): Promise<unknown> {
    const port = this.#adminPorts.get(machine) ?? (await this.lab.forward(this.lab.address(machine), ADMIN_PORT));
    this.#adminPorts.set(machine, port);
    const token = readFileSync(this.secret("admin-token"), "utf8").trim();
    const ca = readFileSync(this.secret("ca.pem"), "utf8");
    return await askThrough({ port, token, ca, timeoutMs: 15_000 }, path, request);
  }

  async addAccount(name: string, account: NewAccount): Promise<void> {
    const admin = (path: string, request?: SiteRequest) => this.admin(path, request);
    await addAccountEverywhere(admin, name, account, { deadlineMs: CONVERGED_MS, everyMs: 200 });
  }

  async nodes(machine?: string): Promise<readonly NodeRecord[]> {
    const asked = machine === undefined ? {} : { machine };
    return ((await this.admin("/api/v1/nodes", asked)) as { nodes: NodeRecord[] }).nodes;
  }

  /** The balancers that have the virtual address. */
  async holders(): Promise<string[]> {
    const found: string[] = [];
    for (const machine of this.options.balancers) {
      const { stdout } = await this.lab.exec(machine, "ip", "-o", "address", "show");
      if (stdout.includes(` ${this.virtualAddress}/`)) found.push(machine);
    }
    return found;
  }

  /** Call it in `after`. */
  async stop(): Promise<void> {
    await this.lab.stop();
  }
}
