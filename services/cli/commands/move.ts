import { type Command, InvalidArgumentError, Option } from "commander";
import type { Mode } from "../move/plan.js";
import type { MoveFlags } from "../move/run.js";
import { FORMATS } from "../output.js";
import { DEFAULT_NODES, MAX_NODES } from "../up/options.js";

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

/** Loaded when it is needed: it brings both stores with it, which is half of what starting any other command costs. */
async function run(to: Mode, flags: MoveFlags): Promise<void> {
  const command = await import("../move/run.js");
  await command.run(to, flags);
}

function nodeCount(text: string): number {
  const nodes = Number(text);
  if (/^\d{1,2}$/.test(text) && nodes >= 1 && nodes <= MAX_NODES) return nodes;
  throw new InvalidArgumentError(`give a whole number from 1 to ${MAX_NODES}`);
}
