import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { z } from "zod";
import { PERMISSIONS, type Permission } from "#config/schema.js";
import { AdminError, askAdmin, askAll } from "../admin-client.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { columns, fields, json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { randomPassword } from "../up/secrets.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const accountSchema = z.looseObject({ name: z.string() });
const accountsSchema = z.array(accountSchema);

interface AddOptions extends ClientOptions {
  readonly passwordFile?: string;
  readonly publicKey: readonly string[];
  readonly home?: string;
  readonly group?: readonly string[];
  readonly allow?: readonly Permission[];
  readonly description?: string;
  readonly disabled?: boolean;
}

const COLUMNS = ["name", "enabled", "home", "description"] as const;

export function addAccountCommands(program: Command): void {
  const account = program.command("account").description("partners' logins");
  withSite(account.command("list").description("all accounts")).action(list);
  withSite(account.command("show").description("one account").argument("<name>")).action(show);
  withSite(account.command("remove").description("remove an account; its files stay").argument("<name>")).action(
    remove,
  );
  withSite(account.command("add").description("make a new account").argument("<name>"))
    .option(
      "--password-file <file>",
      "its password, - for standard input (default: none; made up if there is no key either)",
    )
    .option(
      "--public-key <file>",
      "a public key that it logs in with; may be repeated",
      (file, files: string[]) => [...files, file],
      [],
    )
    .option("--group <name...>", "groups that it inherits from; the first one that has a setting counts")
    .option("--home <path>", "its directory, relative to the storage (default: its name)")
    .addOption(new Option("--allow <permission...>", "what it may do everywhere (default: all)").choices(PERMISSIONS))
    .option("--description <text>")
    .option("--disabled", "it can't log in yet")
    .action(add);
}

async function list(options: ClientOptions): Promise<void> {
  const accounts = answerAs(accountsSchema, await askAll(adminAccess(options), "/api/v1/accounts", "accounts"));
  process.stdout.write(options.output === "json" ? json(accounts) : columns(COLUMNS, accounts));
}

async function show(name: string, options: ClientOptions): Promise<void> {
  const answer = answerAs(accountSchema, await askAdmin(adminAccess(options), pathOf(name)));
  process.stdout.write(options.output === "json" ? json(answer) : fields(answer));
}

async function remove(name: string, options: ClientOptions): Promise<void> {
  await askAdmin(adminAccess(options), pathOf(name), { method: "DELETE" });
  process.stdout.write(
    options.output === "json" ? json({ removed: name }) : `removed ${name}; its files stay in the storage\n`,
  );
}

async function add(name: string, options: AddOptions): Promise<void> {
  const access = adminAccess(options);
  if (await exists(access, name)) {
    throw new CliError(EXIT.conflict, `there is an account ${name} already: \`longshore account show ${name}\``);
  }
  const publicKeys = options.publicKey.map((file) => readInput(file).trim());
  const generated = options.passwordFile === undefined && publicKeys.length === 0 ? randomPassword() : undefined;
  const password =
    options.passwordFile === undefined ? generated : readInput(options.passwordFile).replace(/\r?\n$/, "");
  await askAdmin(access, pathOf(name), {
    method: "PUT",
    body: {
      ...(password === undefined ? {} : { password }),
      publicKeys,
      enabled: options.disabled !== true,
      ...(options.group === undefined ? {} : { groups: options.group }),
      ...(options.home === undefined ? {} : { home: options.home }),
      ...(options.allow === undefined ? {} : { permissions: [{ path: "/", allow: options.allow }] }),
      ...(options.description === undefined ? {} : { description: options.description }),
    },
    // Somebody else may make it right now.
    headers: { "if-none-match": "*" },
  });
  const made = { name, ...(generated === undefined ? {} : { password: generated }) };
  if (options.output === "json") process.stdout.write(json(made));
  else
    process.stdout.write(
      `made ${name}${generated === undefined ? "" : `; its password, shown this once: ${generated}`}\n`,
    );
}

async function exists(access: ReturnType<typeof adminAccess>, name: string): Promise<boolean> {
  try {
    await askAdmin(access, pathOf(name));
    return true;
  } catch (error) {
    if (error instanceof AdminError && error.status === 404) return false;
    throw error;
  }
}

function pathOf(name: string): string {
  return `/api/v1/accounts/${encodeURIComponent(name)}`;
}

/** A file, or standard input for `-`: secrets don't belong on the command line, where `ps` shows them. */
function readInput(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CliError(EXIT.usage, `${file} can't be read: ${messageOf(error)}`, error);
  }
}
