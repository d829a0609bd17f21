import { monotonicMs } from "#lib/clock.js";
import { readNodeEnvironment } from "../container/environment.js";
import { EMBEDDED_STORE, nodeSettings } from "../container/plan.js";
import { CliError, EXIT } from "../errors.js";
import { siteDirectory, siteLayout } from "../layout.js";
import { type Format, json } from "../output.js";
import { findPrograms } from "../up/programs.js";
import { textReport } from "../up/report.js";
import { untilSignalled } from "../up/signals.js";
import { lookAtMove, type MoveOptions, move } from "./move.js";
import { describeStep, type Mode } from "./plan.js";
import { type EtcdSettings, etcdSettingsSchema, moveStore, readEtcdSettings } from "./store-move.js";

export interface MoveFlags {
  readonly dir?: string;
  readonly nodes?: number;
  readonly dryRun?: boolean;
  readonly prometheus: boolean;
  readonly settings?: string;
  readonly embedded?: string;
  readonly replace?: boolean;
  readonly output: Format;
}

/** `promote` and `demote`. */
export async function run(to: Mode, flags: MoveFlags): Promise<void> {
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
