import { type Command, Option } from "commander";
import { PERMISSIONS, type Permission } from "#config/schema.js";
import { CliError, EXIT } from "../errors.js";
import { json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { entryPath, readEntry, wholeNumber, writeEntry } from "./entries.js";
import { type ClientOptions, withSite } from "./shared.js";

interface SetOptions extends ClientOptions {
  readonly group?: readonly string[] | false;
  readonly home?: string;
  readonly allow?: readonly Permission[] | false;
  readonly maxSessions?: number;
  readonly address?: readonly string[];
  readonly mail?: string;
  readonly expires?: string;
  readonly description?: string;
  readonly enable?: boolean;
  readonly disable?: boolean;
}

/** `account set`: changes what is given of an account and leaves the rest, its password included. */
export function addAccountSetCommand(program: Command): void {
  const account = program.commands.find((command) => command.name() === "account") ?? program.command("account");
  withSite(
    account
      .command("set")
      .description("change what is given of an account, and leave the rest")
      .argument("<name>")
      .option("--group <name...>", "groups that it inherits from, instead of those of before")
      .option("--no-group", "it is in no group any more")
      .option("--home <path>", "its directory, relative to the storage")
      .addOption(new Option("--allow <permission...>", "what it may do everywhere").choices(PERMISSIONS))
      .option("--no-allow", "what it may do is the groups' to say")
      .option("--max-sessions <n>", "sessions at once, on all nodes", wholeNumber)
      .option("--address <network...>", "where it may come from, such as 192.0.2.0/24")
      .option("--mail <address>", "for notices")
      .option("--expires <moment>", "from then on no login, such as 2027-01-31T00:00:00Z")
      .option("--description <text>")
      .addOption(new Option("--enable", "it may log in").conflicts("disable"))
      .option("--disable", "it may not log in; open sessions can do nothing more"),
  ).action(set);
}

async function set(name: string, options: SetOptions): Promise<void> {
  const { group, home, allow, maxSessions, address, mail, expires, description, enable, disable } = options;
  const given = [group, home, allow, maxSessions, address, mail, expires, description, enable, disable];
  if (given.every((each) => each === undefined)) {
    throw new CliError(EXIT.usage, "say what to change: --home, --group, --disable, ... (--help names all)");
  }
  const access = adminAccess(options);
  const path = entryPath("accounts", name);
  const before = await readEntry(access, path);
  if (before === undefined) throw new CliError(EXIT.notFound, `there is no account ${name}`);
  const { permissions, ...rest } = before;
  const written = await writeEntry(access, path, rest, {
    ...(allow === false || permissions === undefined ? {} : { permissions }),
    ...(Array.isArray(allow) ? { permissions: [{ path: "/", allow }] } : {}),
    ...(group === undefined ? {} : { groups: group === false ? [] : group }),
    ...(home === undefined ? {} : { home }),
    ...(maxSessions === undefined ? {} : { maxSessions }),
    ...(address === undefined ? {} : { allowedAddresses: address }),
    ...(mail === undefined ? {} : { mail }),
    ...(expires === undefined ? {} : { expiresAt: expires }),
    ...(description === undefined ? {} : { description }),
    ...(enable === true ? { enabled: true } : disable === true ? { enabled: false } : {}),
  });
  process.stdout.write(options.output === "json" ? json(written) : `changed ${name}\n`);
}
