#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { addAccountSetCommand } from "./commands/account-set.js";
import { addAccountCommands } from "./commands/accounts.js";
import { addActiveCommands } from "./commands/active.js";
import { addAdministratorCommands } from "./commands/administrators.js";
import { addAuditCommands } from "./commands/audit.js";
import { addBackupCommands } from "./commands/backup.js";
import { addBundleCommands } from "./commands/bundle.js";
import { addCompletionCommand } from "./commands/completion.js";
import { addConfigCommands } from "./commands/config.js";
import { addContainerCommands } from "./commands/container.js";
import { addDoctorCommand } from "./commands/doctor.js";
import { addFolderCommands } from "./commands/folders.js";
import { addGroupCommands } from "./commands/groups.js";
import { addKeyCommands } from "./commands/keys.js";
import { addMoveCommands } from "./commands/move.js";
import { addNodeCommands } from "./commands/nodes.js";
import { addRenderCommands } from "./commands/render.js";
import { addSecurityCommands } from "./commands/security.js";
import { addSiteCommands } from "./commands/site.js";
import { addSiteSetCommands } from "./commands/site-set.js";
import { EXIT, exitCodeOf, messageOf } from "./errors.js";
import { VERSION } from "./version.js";

/** The `longshore` command: it parses, runs, and ends with an exit code that scripts can rely on (errors.ts). */
const program = new Command("longshore")
  .description("highly available managed file transfer")
  .version(VERSION)
  .exitOverride()
  // In the form of all other refusals.
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "longshore: ")) })
  .showHelpAfterError("The command with --help says what it takes.")
  .configureHelp({ showGlobalOptions: true });
addSiteCommands(program);
addNodeCommands(program);
addSiteSetCommands(program);
addActiveCommands(program);
addAccountCommands(program);
addAdministratorCommands(program);
addSecurityCommands(program);
addAccountSetCommand(program);
addGroupCommands(program);
addFolderCommands(program);
addKeyCommands(program);
addConfigCommands(program);
addBackupCommands(program);
addMoveCommands(program);
addBundleCommands(program);
addDoctorCommand(program);
addAuditCommands(program);
addRenderCommands(program);
addContainerCommands(program);
addCompletionCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  // Commander has said what was wrong, or shown the help that was asked for.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else {
    process.stderr.write(`longshore: ${messageOf(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}
// Node 20 now and then spins for ever in the clean-up behind its last turn; an explicit exit doesn't go there. Output is
// written by then: to files, terminals and pipes it goes synchronously on Linux.
process.exit();
