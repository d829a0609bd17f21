import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { MODES } from "#config/active-schema.js";
import { handOver } from "../container/hand-over.js";
import { CliError, EXIT } from "../errors.js";
import { siteDirectory } from "../layout.js";
import { json } from "../output.js";
import { ownSite, siteEndpoints } from "../site-access.js";
import { down, up } from "../up/command.js";
import { DEFAULT_ACCOUNT, DEFAULT_BASE_PORT, DEFAULT_NODES, upOptionsSchema } from "../up/options.js";
import { downHint, panel } from "../up/panel.js";
import { SUPERVISE_COMMAND, supervise } from "../up/supervisor.js";
import { type ClientOptions, withSite } from "./shared.js";
import { addStatusCommand } from "./status.js";

interface UpFlags {
  readonly dir?: string;
  readonly nodes?: number;
  readonly basePort?: number;
  readonly standalone?: boolean;
  readonly tls?: boolean;
  readonly mode?: string;
  readonly restart: boolean;
  readonly prometheus: boolean;
  readonly accounts: string[];
  readonly detach?: boolean;
  readonly json?: boolean;
}

export function addSiteCommands(program: Command): void {
  program
    .command("up")
    .description("start the evaluation site on this machine: etcd, HAProxy and nodes as processes on loopback")
    .option("--nodes <n>", `how many nodes (default: as last time, else ${DEFAULT_NODES})`, wholeNumber)
    .option("--dir <dir>", "the site's directory: state, secrets, files (default: LONGSHORE_DIR, else .longshore)")
    .option(
      "--base-port <port>",
      `first of its ports, exactly this one (default: as last time, else ${DEFAULT_BASE_PORT} or the next free block)`,
      wholeNumber,
    )
    .addOption(
      new Option("--mode <mode>", "which nodes take partners (default: as last time, else active-active)").choices(
        MODES,
      ),
    )
    .option("--standalone", "one node with a store of its own: no etcd, no HAProxy, nothing to install")
    .option("--tls", "HTTPS on the admin ports, with an authority of the site's own (default: as last time, else HTTP)")
    .option("--no-tls", "HTTP on the admin ports again")
    .option("--no-restart", "leave a node that died as it is")
    .option("--no-prometheus", "without Prometheus")
    .option("--accounts <name...>", "accounts that the site shall have", [DEFAULT_ACCOUNT])
    .option("-d, --detach", "return when the site is ready, and go on in the background")
    .option("--json", "like --detach, and print endpoints.json")
    .action(async (flags: UpFlags) => {
      process.exitCode = await up(upOptions(flags), flags.json ? "json" : flags.detach ? "background" : "foreground");
    });
  program
    .command("down")
    .description("stop what `longshore up` started in a directory; accounts and files stay")
    .option("--dir <dir>", "the site's directory (default: LONGSHORE_DIR, else .longshore)")
    .action(async ({ dir }: { dir?: string }) => {
      process.exitCode = await down(siteDirectory(dir));
    });
  program.command(SUPERVISE_COMMAND, { hidden: true }).action(async () => {
    process.exitCode = await supervise();
  });
  withSite(program.command("endpoints").description("where the running site is reached"))
    .option("--json", "the same as --output json")
    .action(async (options: ClientOptions & { readonly json?: boolean }) => {
      const own = ownSite(options);
      const endpoints = own === undefined ? siteEndpoints(options) : await handOver(own, HAND_OVER);
      const file = own?.etcd === undefined ? "-f compose/compose.standalone.yaml " : "";
      const end = own === undefined ? downHint(endpoints.directory) : `Stop it with: docker compose ${file}down`;
      process.stdout.write(options.json || options.output === "json" ? json(endpoints) : panel(endpoints, end));
    });
  addStatusCommand(program);
}

function upOptions(flags: UpFlags) {
  const { restart, prometheus, accounts, nodes, basePort, standalone, tls, mode } = flags;
  const directory = siteDirectory(flags.dir);
  const asked = { directory, restart, prometheus, accounts, nodes, basePort, standalone, tls, mode };
  const parsed = upOptionsSchema.safeParse(asked);
  if (parsed.success) return parsed.data;
  throw new CliError(EXIT.usage, z.prettifyError(parsed.error));
}

/** As compose.yaml mounts them into the container of this command. */
const HAND_OVER = { mounted: "/hand-over", onHost: ".longshore", ownerOf: "/etc/longshore/compose.yaml" };

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("give a whole number");
  return Number(text);
}
