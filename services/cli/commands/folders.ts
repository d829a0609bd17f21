import { type Command, Option } from "commander";
import { z } from "zod";
import { PERMISSIONS, type Permission } from "#config/schema.js";
import { type AdminAccess, askAdmin, askAll } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { cell, json, size, table } from "../output.js";
import { adminAccess } from "../site-access.js";
import { byteCount, entryPath, readEntry, writeEntry } from "./entries.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const folderSchema = z.looseObject({ path: z.string(), target: z.string(), quotaBytes: z.number().optional() });
const usageSchema = z.looseObject({
  target: z.string(),
  usedBytes: z.number().nullable(),
  countedAt: z.string().nullable(),
});
const ownerSchema = z.looseObject({ name: z.string(), folders: z.array(folderSchema).default([]) });

interface OwnerOptions extends ClientOptions {
  readonly account?: string;
  readonly group?: string;
}

interface SetOptions extends OwnerOptions {
  readonly target: string;
  readonly allow?: readonly Permission[];
  readonly quota?: number;
}

const OWNERS = { account: "accounts", group: "groups" } as const;

export function addFolderCommands(program: Command): void {
  const folder = program.command("folder").description("virtual folders of accounts and groups");
  withOwner(folder.command("list").description("virtual folders, all or those of one account or group")).action(list);
  withOwner(
    folder
      .command("set")
      .description("make a virtual folder, or replace the one at its path")
      .argument("<path>", "where the account sees it, such as /incoming")
      .requiredOption("--target <path>", "where it lies, relative to the storage")
      .addOption(
        new Option("--allow <permission...>", "what may be done in it (default: as the account's rules say)").choices(
          PERMISSIONS,
        ),
      )
      .option("--quota <bytes>", "most bytes in it, such as 20G", byteCount),
  ).action(set);
  withOwner(folder.command("remove").description("remove a virtual folder; its files stay").argument("<path>")).action(
    remove,
  );
  withSite(
    folder
      .command("recount")
      .description("have the bytes of a folder with a quota counted anew")
      .argument("<target>", "where it lies, relative to the storage"),
  ).action(recount);
}

function withOwner(command: Command): Command {
  return withSite(command)
    .addOption(new Option("--account <name>", "of this account").conflicts("group"))
    .option("--group <name>", "of all accounts in this group");
}

async function list(options: OwnerOptions): Promise<void> {
  const access = adminAccess(options);
  const rows: { owner: string; folder: z.infer<typeof folderSchema> }[] = [];
  for (const kind of ["account", "group"] as const) {
    const only = options[kind];
    if (only === undefined && (options.account ?? options.group) !== undefined) continue;
    const owners =
      only === undefined
        ? answerAs(z.looseObject({ list: z.array(ownerSchema) }), {
            list: ((await askAdmin(access, `/api/v1/${OWNERS[kind]}`)) as Record<string, unknown>)[OWNERS[kind]],
          }).list
        : [answerAs(ownerSchema, await askAdmin(access, entryPath(OWNERS[kind], only)))];
    for (const owner of owners) {
      for (const each of owner.folders) rows.push({ owner: `${kind} ${owner.name}`, folder: each });
    }
  }
  const limited = rows.some(({ folder }) => folder.quotaBytes !== undefined);
  const usage = limited ? await usageByTarget(access) : new Map<string, Counted>();
  if (options.output === "json") {
    const shown = rows.map(({ owner, folder }) => {
      if (folder.quotaBytes === undefined) return { owner, ...folder };
      const { usedBytes = null, countedAt = null } = usage.get(folder.target) ?? {};
      return { owner, ...folder, usedBytes, countedAt };
    });
    process.stdout.write(json(shown));
    return;
  }
  process.stdout.write(
    table(
      ["OWNER", "PATH", "TARGET", "ALLOW", "QUOTA", "USED"],
      rows.map(({ owner, folder: { path, target, allow, quotaBytes } }) => [
        owner,
        path,
        target,
        cell(allow),
        quotaBytes === undefined ? "-" : size(quotaBytes),
        quotaBytes === undefined ? "-" : used(usage.get(target)?.usedBytes, quotaBytes),
      ]),
    ),
  );
}

type Counted = z.infer<typeof usageSchema>;

async function usageByTarget(access: AdminAccess): Promise<ReadonlyMap<string, Counted>> {
  const all = answerAs(z.array(usageSchema), await askAll(access, "/api/v1/usage", "folders"));
  return new Map(all.map((each) => [each.target, each]));
}

function used(bytes: number | null | undefined, quota: number): string {
  if (bytes === null || bytes === undefined) return "not counted yet";
  return `${size(bytes)} (${quota === 0 ? 100 : Math.floor((100 * bytes) / quota)} %)`;
}

async function recount(target: string, options: ClientOptions): Promise<void> {
  const answer = await askAdmin(adminAccess(options), "/api/v1/usage/recount", { method: "POST", body: { target } });
  process.stdout.write(options.output === "json" ? json(answer) : `${target} is counted anew in some seconds\n`);
}

async function set(path: string, options: SetOptions): Promise<void> {
  const { target, allow, quota } = options;
  const folder = {
    path,
    target,
    ...(allow === undefined ? {} : { allow }),
    ...(quota === undefined ? {} : { quotaBytes: quota }),
  };
  await change(options, (folders) => [...folders.filter((each) => each.path !== path), folder]);
  process.stdout.write(options.output === "json" ? json(folder) : `${path} is ${target} now\n`);
}

async function remove(path: string, options: OwnerOptions): Promise<void> {
  await change(options, (folders) => {
    if (folders.some((each) => each.path === path)) return folders.filter((each) => each.path !== path);
    throw new CliError(EXIT.notFound, `there is no virtual folder at ${path}: see \`longshore folder list\``);
  });
  process.stdout.write(
    options.output === "json" ? json({ removed: path }) : `removed ${path}; its files stay in the storage\n`,
  );
}

type Folder = z.infer<typeof folderSchema>;

async function change(options: OwnerOptions, make: (folders: readonly Folder[]) => readonly Folder[]): Promise<void> {
  const kind = options.account === undefined ? "group" : "account";
  const name = options.account ?? options.group;
  if (name === undefined) throw new CliError(EXIT.usage, "say whose it is: --account or --group");
  const access = adminAccess(options);
  const path = entryPath(OWNERS[kind], name);
  const before = await readEntry(access, path);
  if (before === undefined) throw new CliError(EXIT.notFound, `there is no ${kind} ${name}`);
  const { folders } = answerAs(ownerSchema, before);
  await writeEntry(access, path, before, { folders: make(folders) });
}
