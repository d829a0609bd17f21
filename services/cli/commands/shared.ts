import { type Command, Option } from "commander";
import { z } from "zod";
import { CliError, EXIT } from "../errors.js";
import { FORMATS, type Format } from "../output.js";
import type { SiteOptions } from "../site-access.js";

/** The options of each command that asks a site. */
export interface ClientOptions extends SiteOptions {
  readonly output: Format;
}

/** Adds the options that say which site, and in what form to answer. */
export function withSite(command: Command): Command {
  return command
    .option("--dir <dir>", "directory of a site that `longshore up` started (default: LONGSHORE_DIR, else .longshore)")
    .option("--url <url>", "admin API of another site (or LONGSHORE_URL)")
    .option("--token-file <file>", "file with its bearer token (or LONGSHORE_TOKEN_FILE)")
    .option("--ca-file <file>", "certificate of the authority behind an https --url (or LONGSHORE_CA_FILE)")
    .addOption(new Option("-o, --output <format>", "form of the answer").choices(FORMATS).default("text"));
}

/** The answer in the form that we know. Throws a CliError where the server is of another version. */
export function answerAs<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new CliError(
    EXIT.failed,
    `the admin API's answer isn't understood (another version?): ${z.prettifyError(parsed.error)}`,
  );
}
