import { Argument, type Command } from "commander";
import { completionScript, SHELLS, type Shell, treeOf } from "../completion.js";

export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .description("a script that completes this command in a shell; load it with: source <(longshore completion bash)")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .action((shell: Shell) => {
      process.stdout.write(completionScript(shell, treeOf(program)));
    });
}
