import { type Command, InvalidArgumentError, Option } from "commander";
import { monotonicMs } from "#lib/clock.js";
import { readNodeEnvironment } from "../container/environment.js";
import { EMBEDDED_STORE, nodeSettings } from "../container/plan.js";
import { CliError, EXIT } from "../errors.js";
import { siteDirectory, siteLayout } from "../layout.js";
import { lookAtMove, type MoveOptions, move } from "../move/move.js";
import { describeStep, type Mode } from "../move/plan.js";
import { type EtcdSettings, etcdSettingsSchema, moveStore, readEtcdSettings } from "../move/store-move.js";
import { FORMATS, type Format, json } from "../output.js";
import { DEFAULT_NODES, MAX_NODES } from "../up/options.js";
import { findPrograms } from "../up/programs.js";
import { textReport } from "../up/report.js";
import { untilSignalled } from "../up/signals.js";

interface MoveFlags {
  readonly dir?: string;
  readonly nodes?: number;
  readonly dryRun?: boolean;
  readonly prometheus: boolean;
  readonly settings?: string;
  readonly embedded?: string;
  readonly replace?: boolean;
  readonly output: Format;
}

export function addMoveCommands(program: Command): void {
  const common = (command: Command) =>
    command
      .option("--dir <dir>", "the site's directory (default: LONGSHORE_DIR, else .longshore)")
      .option("--dry-run", "check what is needed, say what would be done, and change nothing")
      .option("--no-prometheus", "start the site without Prometheus")
      .option("--settings <file>", "of a site that isn't one of `longshore up`: settings of any of its nodes with etcd")
      .option("--embedded <dir>", "with --settings: the standalone node's store (`coordination.directory`)")
      .option("--replace", "with --settings: what the new store holds may go")
      .addOption(new Option("-o, --output <format>", "form of the answer").choices(FORMATS).default("text"));
  common(
    program
      .command("promote")
      .description("make a site of several nodes of a standalone one: same accounts, keys, files and history")
      .option("--nodes <n>", `how many nodes, 1 to ${MAX_NODES} (default: ${DEFAULT_NODES})`, nodeCount),
  ).action((flags: MoveFlags) => run("cluster", flags));
  common(
    program.command("demote").description("make a standalone site of one of several nodes: the way back of promote"),
  ).action((flags: MoveFlags) => run("standalone", flags));
}

async function run(to: Mode, flags: MoveFlags): Promise<void> {
  if (process.platform !== "linux") throw new CliError(EXIT.failed, "this command runs on Linux only");
  const stores = storesOf(flags);
  if (stores !== undefined) return runStores(to, flags, stores);
  const layout = siteLayout(siteDirectory(flags.dir));
  const { nodes, prometheus } = flags;
  const wanted = { layout, to, prometheus, ...(nodes === undefined ? {} : { nodes }) };
  const plan = await lookAtMove(wanted);
  if (plan.kind === "done") {
    say(flags, { mode: to, done: true, steps: [] }, `the site in ${layout.root} is ${to} already\n`);
    return;
  }
  const steps = plan.steps.map((step) => ({ step, ...describeStep(step, to) }));
  const words = steps.map(({ does, ifItDies }, at) => `${at + 1}. ${does}\n   if it dies here: ${ifItDies}\n`).join("");
  if (flags.dryRun === true) {
    say(flags, { mode: to, done: false, steps }, `${words}Nothing was changed.\n`);
    return;
  }
  const report = textReport((line) => process.stderr.write(line), monotonicMs);
  const programs = await findPrograms(prometheus && to === "cluster", report);
  const options: MoveOptions = { ...wanted, programs, report, signal: untilSignalled().first };
  await move(options);
  const start = plan.journal.start ? "" : `; start it with: longshore up --dir ${layout.root}`;
  say(flags, { mode: to, done: true, steps }, `the site in ${layout.root} is ${to} now${start}\n`);
}

/** The two stores, where the site isn't one of `longshore up`: named, or those of the node whose container this is. */
function storesOf(
  { dir, settings, embedded }: MoveFlags,
  env: NodeJS.ProcessEnv = process.env,
): { readonly settings: EtcdSettings; readonly embedded: string } | undefined {
  if (settings !== undefined && embedded !== undefined) return { settings: readEtcdSettings(settings), embedded };
  if (settings !== undefined || embedded !== undefined) {
    throw new CliError(
      EXIT.usage,
      "--settings and --embedded go together: one is the site's, the other the single node's",
    );
  }
  if (dir !== undefined || !env.LONGSHORE_NODE_NAME) return undefined;
  const parsed = etcdSettingsSchema.safeParse(nodeSettings(readNodeEnvironment(env)));
  if (parsed.success) return { settings: parsed.data, embedded: EMBEDDED_STORE };
  throw new CliError(
    EXIT.usage,
    "this is a single node's container: run the command in one of the site's (compose.yaml)",
  );
}

async function runStores(
  to: Mode,
  flags: MoveFlags,
  { settings, embedded }: NonNullable<ReturnType<typeof storesOf>>,
): Promise<void> {
  const dryRun = flags.dryRun === true;
  const report = textReport((line) => process.stderr.write(line), monotonicMs);
  const entries = await moveStore({ to, settings, embedded, replace: flags.replace === true, dryRun, report });
  const where = to === "cluster" ? `${embedded} to etcd` : `etcd to ${embedded}`;
  const text = dryRun
    ? `${entries} entries would go from ${where}; nothing was changed\n`
    : `${entries} entries went from ${where}: start the ${to === "cluster" ? "site's nodes" : "single node"} now\n`;
  say(flags, { mode: to, done: !dryRun, entries }, text);
}

function say(flags: MoveFlags, answer: unknown, text: string): void {
  process.stdout.write(flags.output === "json" ? json(answer) : text);
}

function nodeCount(text: string): number {
  const nodes = Number(text);
  if (/^\d{1,2}$/.test(text) && nodes >= 1 && nodes <= MAX_NODES) return nodes;
  throw new InvalidArgumentError(`give a whole number from 1 to ${MAX_NODES}`);
}
