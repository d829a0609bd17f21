import type { Command } from "commander";
import { readNodeEnvironment } from "../container/environment.js";
import { makeFirstAccount } from "../container/first-account.js";
import { nodeSettings } from "../container/plan.js";
import { setUp } from "../container/setup.js";
import { containerSite } from "../container/site-file.js";
import { CliError, EXIT } from "../errors.js";
import { json } from "../output.js";

/** What the containers of compose/compose.yaml run; nobody types these. */
export function addContainerCommands(program: Command): void {
  const container = program.command("container", { hidden: true }).description("what the containers of a site run");
  container
    .command("setup")
    .description("make the secrets, certificates and configuration that a site needs")
    .action(() => setUp(process.env, (text) => process.stdout.write(`setup: ${text}\n`)));
  container
    .command("settings")
    .description("a node's settings, from the environment")
    .action(() => {
      process.stdout.write(json(nodeSettings(readNodeEnvironment(process.env))));
    });
  container
    .command("first-account")
    .description("make the first account, once")
    .action(async () => {
      const site = containerSite(process.env);
      if (site === undefined) throw new CliError(EXIT.usage, "LONGSHORE_SITE_DIR isn't set");
      process.stdout.write(`first-account: ${await makeFirstAccount(site)}\n`);
    });
}
