import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BenchOptions, BenchResult, Figure, Target } from "./contract.js";
import { startCluster, startStandalone } from "./peers/longshore.js";
import { startOpenssh } from "./peers/openssh.js";
import { cpuSeconds, memoryOf } from "./processes.js";
import { withSftp } from "./sftp-client.js";
import { openIdle, timeLogins } from "./ssh-logins.js";
import { median } from "./table.js";

/** `--only sftp`: against OpenSSH's server, on the same files, with OpenSSH's client, in turns. */

const gibibyte = 1024 ** 3;

class Figures {
  readonly #all = new Map<string, Figure>();

  add(name: string, unit: string, target: Target, value: number): void {
    const figure = this.#all.get(name) ?? { name, unit, values: new Map() };
    this.#all.set(name, figure);
    figure.values.set(target.name, [...(figure.values.get(target.name) ?? []), value]);
  }

  list(): Figure[] {
    return [...this.#all.values()];
  }
}

interface Work {
  readonly options: BenchOptions;
  readonly figures: Figures;
  /** Where the client reads and writes. */
  readonly local: string;
}

/** Measures a command inside an open session: time, and CPU of all that serves it. */
async function bulk(work: Work, target: Target, what: "put" | "get", command: string, run: string): Promise<void> {
  const { options, figures, local } = work;
  await withSftp(target, local, async (client) => {
    const before = cpuSeconds(target.processes());
    const helpersBefore = cpuSeconds(target.helpers());
    const clientBefore = cpuSeconds(client.processes);
    const seconds = await client.run(command);
    const cpu = cpuSeconds(target.processes()) - before;
    const helpers = cpuSeconds(target.helpers()) - helpersBefore;
    const clientCpu = cpuSeconds(client.processes) - clientBefore;
    if (run !== "warm") {
      figures.add(`${what}: throughput`, "MB/s", target, options.size / 1e6 / seconds);
      figures.add(`${what}: server CPU`, "s/GiB", target, (cpu * gibibyte) / options.size);
      if (target.helpers().length > 0)
        figures.add(`${what}: of it HAProxy and etcd`, "s/GiB", target, (helpers * gibibyte) / options.size);
      // What the client uses on the same machine bounds the ratio of throughputs: docs/design/speed.md.
      figures.add(`${what}: client CPU`, "s/GiB", target, (clientCpu * gibibyte) / options.size);
    }
    if (what === "put") await client.run(`rm ${target.root}/put-${run}`);
  });
}

async function bulkRound(work: Work, targets: readonly Target[], run: string): Promise<void> {
  for (const target of targets) await bulk(work, target, "put", `put large ${target.root}/put-${run}`, run);
  for (const target of targets) {
    await bulk(work, target, "get", `get ${target.root}/large got`, run);
    rmSync(join(work.local, "got"));
  }
}

async function smallRound(work: Work, targets: readonly Target[], run: string): Promise<void> {
  const { options, figures, local } = work;
  for (const target of targets)
    await withSftp(target, local, async (client) => {
      await client.run(`mkdir ${target.root}/small-${run}`);
      const put = await client.run(`put small/* ${target.root}/small-${run}/`);
      mkdirSync(join(local, "got-small"));
      const get = await client.run(`get ${target.root}/small-${run}/* got-small/`);
      rmSync(join(local, "got-small"), { recursive: true });
      if (run === "warm") return;
      figures.add(`put ${options.files} × 4 KiB`, "files/s", target, options.files / put);
      figures.add(`get ${options.files} × 4 KiB`, "files/s", target, options.files / get);
    });
}

async function loginRound(work: Work, targets: readonly Target[]): Promise<void> {
  for (const target of targets) {
    const alone = await timeLogins(target, Math.ceil(work.options.logins / 4), 1);
    work.figures.add("login by key, one after the other: p50", "ms", target, median(alone.each));
    const many = await timeLogins(target, work.options.logins, 8);
    work.figures.add("logins, 8 at once", "logins/s", target, work.options.logins / many.seconds);
  }
}

async function idle(work: Work, targets: readonly Target[]): Promise<void> {
  const { sessions } = work.options;
  for (const target of targets) {
    const before = memoryOf(target.processes());
    const end = await openIdle(target, sessions);
    const after = memoryOf(target.processes());
    await end();
    const add = (name: string, unit: string, value: number) =>
      work.figures.add(`${sessions} idle sessions: ${name}`, unit, target, value);
    add("memory in all (PSS)", "MiB", after.pssKiB / 1024);
    add("memory in all (RSS)", "MiB", after.rssKiB / 1024);
    add("memory a session (PSS)", "KiB", (after.pssKiB - before.pssKiB) / sessions);
    add("processes", "number", after.processes);
  }
}

async function prepare(work: Work, targets: readonly Target[]): Promise<void> {
  const { options, local } = work;
  mkdirSync(join(local, "small"), { recursive: true });
  // Random bytes of the kernel: nothing on the way can compress or deduplicate them.
  execFileSync("dd", ["if=/dev/urandom", `of=${join(local, "large")}`, "bs=1M", `count=${options.size / 2 ** 20}`], {
    stdio: "ignore",
  });
  const block = readFileSync(join(local, "large")).subarray(0, 4096);
  for (let index = 0; index < options.files; index += 1) writeFileSync(join(local, "small", `f${index}`), block);
  for (const target of targets)
    await withSftp(target, local, async (client) => {
      await client.run(`put large ${target.root}/large`);
    });
}

async function measure(work: Work, targets: readonly Target[]): Promise<void> {
  const { options } = work;
  const wanted = (figure: string) => options.figures.length === 0 || options.figures.includes(figure);
  options.say("preparing files");
  await prepare(work, targets);
  // Cold guest pages cost two to three times the CPU: the first round only warms.
  for (let run = 0; run <= options.runs; run += 1) {
    const name = run === 0 ? "warm" : String(run);
    const turn = [...targets.slice(run % targets.length), ...targets.slice(0, run % targets.length)];
    options.say(run === 0 ? "warming up" : `round ${run} of ${options.runs}`);
    if (wanted("bulk")) await bulkRound(work, turn, name);
    if (wanted("small")) await smallRound(work, turn, name);
    if (wanted("logins") && run > 0) await loginRound(work, turn);
  }
  if (wanted("idle")) {
    options.say(`${options.sessions} idle sessions`);
    await idle(work, targets);
  }
}

export async function sftp(options: BenchOptions): Promise<BenchResult> {
  const targets: Target[] = [];
  const figures = new Figures();
  try {
    options.say("starting OpenSSH, one node, and a site of three");
    for (const [name, start] of [
      ["openssh", startOpenssh],
      ["one", startStandalone],
      ["site", startCluster],
    ] as const) {
      mkdirSync(join(options.directory, name), { recursive: true });
      targets.push(await start(join(options.directory, name)));
    }
    const local = join(options.directory, "client");
    mkdirSync(local);
    await measure({ options, figures, local }, targets);
  } finally {
    for (const target of targets) await target.stop();
  }
  return {
    title: "SFTP against OpenSSH's server",
    notes: [
      `${options.size / 2 ** 20} MiB, ${options.runs} rounds in turns; medians, then the ratio to OpenSSH pair by pair (least–most)`,
      "client: OpenSSH's sftp, aes128-gcm@openssh.com; times inside an open session; logins and idle sessions: ssh2's client",
      "our uploads are committed durably (P1) when the client has its reply; OpenSSH's aren't synced at all",
      "server CPU: all processes that serve; with HAProxy and etcd where they take part",
    ],
    targets: targets.map(({ name }) => name),
    figures: figures.list(),
  };
}
