import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "#lib/testing.js";
import { ensurePackages } from "./packages.js";
import { freePorts } from "./ports.js";
import { run, type Started, start } from "./processes.js";

/** Paths of PEM files for the servers and for `etcdctl`. */
export interface EtcdTlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface StartEtcdOptions {
  /** Default 1. */
  readonly members?: 1 | 3;
  /** Where the data lies; kept at the end. Default: a temporary directory, removed at the end. */
  readonly dir?: string;
  /** Further arguments of etcd. */
  readonly args?: readonly string[];
  /** Serves clients with mutual TLS. */
  readonly tls?: EtcdTlsFiles;
}

export interface EtcdMember {
  readonly name: string;
  /** `host:port` (with `https://` where TLS is on) for clients. */
  readonly endpoint: string;
  /** -1 while it isn't running. */
  readonly pid: number;
  /** `kill -9`. */
  kill(): Promise<void>;
  /** SIGSTOP: it keeps its connections and answers nothing. */
  stop(): void;
  cont(): void;
  /** Kills it where it runs, starts it on the same data and waits until it serves. */
  restart(): Promise<void>;
}

export interface EtcdCluster {
  readonly endpoints: readonly string[];
  readonly members: readonly EtcdMember[];
  /** Runs `etcdctl` against the whole cluster and returns what it printed. */
  ctl(...args: string[]): Promise<string>;
  /** The member that leads now. */
  leader(): Promise<EtcdMember>;
  /** Ends all members and removes the data. Idempotent. */
  stop(): Promise<void>;
}

/** Milliseconds for a member to serve after its start; generous, since the machine may be busy with other tests. */
const HEALTH_MS = 30_000;
const PROGRAMS = { etcd: "etcd-server", etcdctl: "etcd-client" };

class Member implements EtcdMember {
  #process: Started | undefined;

  constructor(
    readonly name: string,
    readonly endpoint: string,
    readonly args: readonly string[],
    private readonly program: string,
    private readonly health: (member: Member) => Promise<void>,
  ) {}

  get pid(): number {
    return this.#process?.alive ? this.#process.pid : -1;
  }

  get output(): string {
    return this.#process?.output ?? "";
  }

  launch(): void {
    this.#process = start(this.program, this.args, { name: this.name, env: { ...process.env, ETCDCTL_API: "3" } });
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  stop(): void {
    this.#process?.signal("SIGSTOP");
  }

  cont(): void {
    this.#process?.signal("SIGCONT");
  }

  async restart(): Promise<void> {
    await this.kill();
    this.launch();
    await this.health(this);
  }
}

/** Starts a real etcd cluster on free loopback ports, with the flags of our own deployment, and waits until it serves. */
export async function startEtcd(options: StartEtcdOptions = {}): Promise<EtcdCluster> {
  const programs = ensurePackages(PROGRAMS);
  const count = options.members ?? 1;
  const directory = options.dir ?? (await mkdtemp(join(tmpdir(), "longshore-etcd-")));
  const ports = await freePorts(count * 2);
  const scheme = options.tls ? "https" : "http";
  const plan = Array.from({ length: count }, (_, i) => ({
    name: `m${i + 1}`,
    client: `127.0.0.1:${ports[2 * i]}`,
    peer: `http://127.0.0.1:${ports[2 * i + 1]}`,
  }));
  const initial = plan.map((one) => `${one.name}=${one.peer}`).join(",");
  const tlsArgs = options.tls
    ? [
        `--trusted-ca-file=${options.tls.ca}`,
        `--cert-file=${options.tls.cert}`,
        `--key-file=${options.tls.key}`,
        "--client-cert-auth",
      ]
    : [];
  const ctlTls = options.tls
    ? [`--cacert=${options.tls.ca}`, `--cert=${options.tls.cert}`, `--key=${options.tls.key}`]
    : [];
  const address = (client: string) => (options.tls ? `https://${client}` : client);

  const etcdctl = (endpoints: readonly string[], ...args: string[]) =>
    run(programs.etcdctl, [`--endpoints=${endpoints.join(",")}`, ...ctlTls, ...args], {
      env: { ...process.env, ETCDCTL_API: "3" },
    });
  const health = async (member: Member) => {
    try {
      await until(
        `etcd member ${member.name} serves`,
        async () => {
          if (member.pid < 0) throw new Error("it has ended");
          await etcdctl([member.endpoint], "endpoint", "health", "--command-timeout=2s");
          return true;
        },
        { deadlineMs: HEALTH_MS, everyMs: 100 },
      );
    } catch (error) {
      throw new Error(`etcd member ${member.name} doesn't serve; its last words:\n${member.output.slice(-2_000)}`, {
        cause: error,
      });
    }
  };
  const members = plan.map(
    (one) =>
      new Member(
        one.name,
        address(one.client),
        [
          `--name=${one.name}`,
          `--data-dir=${join(directory, one.name)}`,
          `--listen-client-urls=${scheme}://${one.client}`,
          `--advertise-client-urls=${scheme}://${one.client}`,
          `--listen-peer-urls=${one.peer}`,
          `--initial-advertise-peer-urls=${one.peer}`,
          `--initial-cluster=${initial}`,
          "--initial-cluster-state=new",
          `--initial-cluster-token=${directory}`,
          "--max-txn-ops=1024",
          "--heartbeat-interval=100",
          "--election-timeout=1000",
          ...tlsArgs,
          ...(options.args ?? []),
        ],
        programs.etcd,
        health,
      ),
  );

  let stopped: Promise<void> | undefined;
  const stopAll = async () => {
    await Promise.all(members.map((member) => member.kill()));
    if (options.dir === undefined) await rm(directory, { recursive: true, force: true });
  };
  const cluster: EtcdCluster = {
    endpoints: members.map((member) => member.endpoint),
    members,
    ctl: (...args) =>
      etcdctl(
        members.map((member) => member.endpoint),
        ...args,
      ),
    leader: async () => {
      const output = await etcdctl(
        members.filter((member) => member.pid > 0).map((member) => member.endpoint),
        "endpoint",
        "status",
        "--write-out=json",
        "--command-timeout=2s",
      );
      interface Row {
        readonly Endpoint: string;
        readonly Status: { readonly leader: number; readonly header: { readonly member_id: number } };
      }
      const line = output.split("\n").find((one) => one.startsWith("["));
      const rows = JSON.parse(line ?? "[]") as Row[];
      // Ids are 64 bits and lose their end in JSON.parse, but the same id loses the same end.
      const row = rows.find((one) => one.Status.leader === one.Status.header.member_id);
      const member = members.find((one) => one.endpoint === row?.Endpoint);
      if (!member) throw new Error(`no member leads: ${output}`);
      return member;
    },
    stop: () => {
      stopped ??= stopAll();
      return stopped;
    },
  };
  try {
    for (const member of members) member.launch();
    await Promise.all(members.map((member) => health(member)));
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}
