import { type Command, Option } from "commander";
import { z } from "zod";
import { PERMISSIONS, type Permission } from "#config/schema.js";
import { askAdmin } from "../admin-client.js";
import { columns, fields, json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { entryPath, readEntry, wholeNumber, writeEntry } from "./entries.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const groupSchema = z.looseObject({ name: z.string() });
const groupsSchema = z.looseObject({ groups: z.array(groupSchema) });
const COLUMNS = ["name", "home", "maxSessions", "allowedAddresses", "description"] as const;

interface SetOptions extends ClientOptions {
  readonly home?: string;
  readonly allow?: readonly Permission[];
  readonly maxSessions?: number;
  readonly address?: readonly string[];
  readonly description?: string;
}

export function addGroupCommands(program: Command): void {
  const group = program.command("group").description("settings that accounts inherit");
  withSite(group.command("list").description("all groups")).action(list);
  withSite(group.command("show").description("one group").argument("<name>")).action(show);
  withSite(
    group
      .command("set")
      .description("make a group, or change what is given of one")
      .argument("<name>")
      .option("--home <template>", "its accounts' home, relative to the storage; {account} is the account's name")
      .addOption(new Option("--allow <permission...>", "what its accounts may do everywhere").choices(PERMISSIONS))
      .option("--max-sessions <n>", "sessions of one account at once, on all nodes", wholeNumber)
      .option("--address <network...>", "where its accounts may come from, such as 192.0.2.0/24")
      .option("--description <text>"),
  ).action(set);
  withSite(group.command("remove").description("remove a group that no account is in").argument("<name>")).action(
    remove,
  );
}

async function list(options: ClientOptions): Promise<void> {
  const { groups } = answerAs(groupsSchema, await askAdmin(adminAccess(options), "/api/v1/groups"));
  process.stdout.write(options.output === "json" ? json(groups) : columns(COLUMNS, groups));
}

async function show(name: string, options: ClientOptions): Promise<void> {
  const answer = answerAs(groupSchema, await askAdmin(adminAccess(options), entryPath("groups", name)));
  process.stdout.write(options.output === "json" ? json(answer) : fields(answer));
}

async function set(name: string, options: SetOptions): Promise<void> {
  const access = adminAccess(options);
  const path = entryPath("groups", name);
  const before = await readEntry(access, path);
  const { home, allow, maxSessions, address, description } = options;
  const written = await writeEntry(access, path, before, {
    ...(home === undefined ? {} : { home }),
    ...(allow === undefined ? {} : { permissions: [{ path: "/", allow }] }),
    ...(maxSessions === undefined ? {} : { maxSessions }),
    ...(address === undefined ? {} : { allowedAddresses: address }),
    ...(description === undefined ? {} : { description }),
  });
  if (options.output === "json") process.stdout.write(json(written));
  else process.stdout.write(`${before === undefined ? "made" : "changed"} ${name}\n`);
}

async function remove(name: string, options: ClientOptions): Promise<void> {
  await askAdmin(adminAccess(options), entryPath("groups", name), { method: "DELETE" });
  process.stdout.write(options.output === "json" ? json({ removed: name }) : `removed ${name}\n`);
}
