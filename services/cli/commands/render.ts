import { type Command, Option } from "commander";
import { FORMATS, type Format, json } from "../output.js";
import { alertRules, type Kind, type Rendered, render } from "../render/render.js";

interface RenderOptions {
  readonly output: Format;
}

const ABOUT: Readonly<Record<Kind, string>> = {
  balancer: "HAProxy's configuration and the script that it loads",
  prometheus: "Prometheus's configuration",
  alertmanager: "Alertmanager's configuration",
  node: "a node's settings file",
};

/**
 * `render`: the product's own templates for whoever installs a site, so that `up`, compose and Ansible have one source. Asks
 * no site.
 */
export function addRenderCommands(program: Command): void {
  const group = program.command("render").description("configuration files, from the product's own templates");
  for (const [kind, about] of Object.entries(ABOUT) as [Kind, string][]) {
    withOutput(
      group
        .command(kind)
        .description(about)
        .requiredOption("--from <file>", "JSON with what it is made of; - for standard input"),
    ).action((options: RenderOptions & { readonly from: string }) => print(render(kind, options.from), options));
  }
  withOutput(group.command("alerts").description("the alert rules of this version, for Prometheus")).action(
    (options: RenderOptions) => print(alertRules(), options),
  );
}

function withOutput(command: Command): Command {
  return command.addOption(
    new Option("-o, --output <format>", "text: the file itself; json: an object of file names to texts")
      .choices(FORMATS)
      .default("text"),
  );
}

/** Several files can't be told apart as text: they come one below the other, each under its name. */
function print(files: Rendered, { output }: RenderOptions): void {
  const all = Object.entries(files);
  const [only] = all;
  if (output === "json") process.stdout.write(json(files));
  else if (all.length === 1 && only !== undefined) process.stdout.write(only[1]);
  else process.stdout.write(all.map(([name, text]) => `==> ${name} <==\n${text}`).join("\n"));
}
