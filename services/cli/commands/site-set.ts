import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { MODES, type Mode } from "#config/active-schema.js";
import { askAdmin } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { fields, json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const siteSchema = z.looseObject({
  mode: z.string(),
  activePassive: z.looseObject({ order: z.array(z.string()) }),
  revision: z.int(),
});

interface SetOptions extends ClientOptions {
  readonly mode?: Mode;
  readonly activeOrder?: readonly string[];
  readonly activeDrainSeconds?: number;
  readonly activeUnhealthySeconds?: number;
  readonly cutOffGraceSeconds?: number;
  readonly dryRun?: boolean;
}

/** `site show` and `site set`: settings that every node has in common, read and changed one by one. */
export function addSiteSetCommands(program: Command): void {
  const site = program.command("site").description("the site's settings");
  withSite(site.command("show").description("the settings as they are")).action(async (options: ClientOptions) => {
    const now = answerAs(siteSchema, await askAdmin(adminAccess(options), "/api/v1/site"));
    process.stdout.write(options.output === "json" ? json(now) : fields(now));
  });
  withSite(site.command("set").description("change what is given, and leave the rest; asking again changes nothing"))
    .addOption(new Option("--mode <mode>", "which nodes take partners").choices(MODES))
    .option(
      "--active-order <names>",
      "who takes over first in active-passive: node names, by commas; empty: by slot",
      names,
    )
    .option("--active-drain-seconds <n>", "so long running transfers go on after a switch", wholeNumber)
    .option("--active-unhealthy-seconds <n>", "an active node that is unwell for so long hands over", wholeNumber)
    .option("--cut-off-grace-seconds <n>", "so long a node without etcd serves on", wholeNumber)
    .option("--dry-run", "say whether something would change, and change nothing")
    .action(set);
}

async function set(options: SetOptions): Promise<void> {
  const access = adminAccess(options);
  const before = answerAs(siteSchema, await askAdmin(access, "/api/v1/site"));
  const wanted = changed(before, options);
  const changes = JSON.stringify(wanted) !== JSON.stringify(before);
  const dryRun = options.dryRun === true;
  let { revision } = before;
  if (changes && !dryRun) {
    const headers = { "if-match": `"${before.revision}"` };
    revision = answerAs(
      siteSchema,
      await askAdmin(access, "/api/v1/site", { method: "PUT", headers, body: wanted }),
    ).revision;
  }
  if (options.output === "json") process.stdout.write(json({ changed: changes, dryRun, revision }));
  else if (!changes) process.stdout.write("nothing to change\n");
  else process.stdout.write(dryRun ? "the settings would change\n" : `changed the settings, revision ${revision}\n`);
}

/** The settings with what is given in its place; the order of the fields stays. Throws a CliError where nothing is given. */
function changed(before: z.infer<typeof siteSchema>, options: SetOptions): z.infer<typeof siteSchema> {
  const { mode, activeOrder, activeDrainSeconds, activeUnhealthySeconds, cutOffGraceSeconds } = options;
  const given = [mode, activeOrder, activeDrainSeconds, activeUnhealthySeconds, cutOffGraceSeconds];
  if (given.every((value) => value === undefined)) {
    throw new CliError(EXIT.usage, "say what is to change, such as --mode active-passive");
  }
  return {
    ...before,
    ...(mode === undefined ? {} : { mode }),
    ...(cutOffGraceSeconds === undefined ? {} : { cutOffGraceSeconds }),
    activePassive: {
      ...before.activePassive,
      ...(activeOrder === undefined ? {} : { order: [...activeOrder] }),
      ...(activeDrainSeconds === undefined ? {} : { drainSeconds: activeDrainSeconds }),
      ...(activeUnhealthySeconds === undefined ? {} : { unhealthySeconds: activeUnhealthySeconds }),
    },
  };
}

function names(text: string): string[] {
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

function wholeNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("give a whole number");
}
