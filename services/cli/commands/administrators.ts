import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { ROLES, type Role } from "#config/entries.js";
import { SCOPES, type Scope } from "#config/scopes.js";
import { type AdminAccess, askAdmin, askAll } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { cell, columns, fields, json, table } from "../output.js";
import { adminAccess } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const administratorSchema = z.looseObject({
  name: z.string(),
  role: z.string(),
  enabled: z.boolean(),
  tokens: z.array(z.looseObject({ id: z.string(), expiresAt: z.string().optional() })),
});
const madeSchema = z.looseObject({ id: z.string(), token: z.string(), revision: z.number() });
const convergenceSchema = z.looseObject({ converged: z.boolean() });

interface AddOptions extends ClientOptions {
  readonly role: Role;
  readonly description?: string;
  readonly disabled?: boolean;
  readonly replace?: boolean;
}

interface TokenOptions extends ClientOptions {
  readonly scope?: readonly Scope[];
  readonly days?: number;
}

const COLUMNS = ["name", "role", "enabled", "tokens", "description"] as const;

export function addAdministratorCommands(program: Command): void {
  const admin = program.command("admin").description("who may administer the site");
  withSite(admin.command("list").description("all administrators")).action(list);
  withSite(admin.command("show").description("one administrator with the tokens").argument("<name>")).action(show);
  withSite(admin.command("whoami").description("who the token in use belongs to, and what it may do")).action(whoami);
  withSite(admin.command("add").description("make an administrator; give him a token next").argument("<name>"))
    .addOption(new Option("--role <role>", "what he may do").choices(ROLES).makeOptionMandatory())
    .option("--description <text>")
    .option("--disabled", "his tokens don't work yet")
    .option("--replace", "change the one that is there; his tokens stay")
    .action(add);
  withSite(
    admin.command("remove").description("remove an administrator and all of his tokens").argument("<name>"),
  ).action(remove);
  const token = admin.command("token").description("administrators' tokens");
  withSite(token.command("add").description("make a token; it is shown this once").argument("<name>"))
    .addOption(
      new Option("--scope <scope...>", "what it is good for (default: all that the role allows)").choices(SCOPES),
    )
    .option("--days <n>", "it expires after so many days (default: never)", days)
    .action(addToken);
  withSite(
    token
      .command("revoke")
      .description("end a token, on every node within a second")
      .argument("<name>")
      .argument("<id>", "the 12 digits after lsa_"),
  ).action(revokeToken);
}

async function list(options: ClientOptions): Promise<void> {
  const answers = await askAll(adminAccess(options), "/api/v1/administrators", "administrators");
  const administrators = answerAs(z.array(administratorSchema), answers);
  const counted = administrators.map((one) => ({ ...one, tokens: one.tokens.length }));
  process.stdout.write(options.output === "json" ? json(administrators) : columns(COLUMNS, counted));
}

async function show(name: string, options: ClientOptions): Promise<void> {
  const one = answerAs(administratorSchema, await askAdmin(adminAccess(options), pathOf(name)));
  if (options.output === "json") {
    process.stdout.write(json(one));
    return;
  }
  const { tokens, ...rest } = one;
  process.stdout.write(fields(rest));
  if (tokens.length > 0) {
    const lines = tokens.map(({ id, scopes, createdAt, expiresAt }) => [id, scopes, createdAt, expiresAt].map(cell));
    process.stdout.write(`\n${table(["TOKEN", "SCOPES", "CREATED", "EXPIRES"], lines)}`);
  }
}

async function whoami(options: ClientOptions): Promise<void> {
  const answer = answerAs(z.looseObject({}), await askAdmin(adminAccess(options), "/api/v1/self"));
  process.stdout.write(options.output === "json" ? json(answer) : fields(answer));
}

async function add(name: string, options: AddOptions): Promise<void> {
  const { role, description, disabled, replace } = options;
  const answer = await askAdmin(adminAccess(options), pathOf(name), {
    method: "PUT",
    body: { role, enabled: disabled !== true, ...(description === undefined ? {} : { description }) },
    headers: replace === true ? {} : { "if-none-match": "*" },
  });
  const told = `${name} is ${role} now; make a token for him with: longshore admin token add ${name}\n`;
  process.stdout.write(options.output === "json" ? json(answer) : told);
}

async function remove(name: string, options: ClientOptions): Promise<void> {
  await askAdmin(adminAccess(options), pathOf(name), { method: "DELETE" });
  process.stdout.write(options.output === "json" ? json({ removed: name }) : `removed ${name} and all of his tokens\n`);
}

async function addToken(name: string, options: TokenOptions): Promise<void> {
  const access = adminAccess(options);
  const { scope, days: count } = options;
  const expiresAt = count === undefined ? undefined : new Date(Date.now() + count * 86_400_000).toISOString();
  const made = answerAs(
    madeSchema,
    await askAdmin(access, `${pathOf(name)}/tokens`, {
      method: "POST",
      body: { ...(scope === undefined ? {} : { scopes: scope }), ...(expiresAt === undefined ? {} : { expiresAt }) },
    }),
  );
  const everywhere = await inForce(access, made.revision);
  if (options.output === "json") process.stdout.write(json({ ...made, everywhere }));
  else {
    // Alone on standard output, so that it can be put into a file.
    process.stdout.write(`${made.token}\n`);
    const hint = everywhere ? "" : "; not every node knows it yet";
    process.stderr.write(`made the token ${made.id} of ${name}, shown this once${hint}\n`);
  }
}

async function revokeToken(name: string, id: string, options: ClientOptions): Promise<void> {
  await askAdmin(adminAccess(options), `${pathOf(name)}/tokens/${encodeURIComponent(id)}`, { method: "DELETE" });
  process.stdout.write(options.output === "json" ? json({ revoked: id }) : `revoked the token ${id} of ${name}\n`);
}

/** Whether every node that is up has the revision in force, after some seconds at most. */
async function inForce(access: AdminAccess, revision: number): Promise<boolean> {
  try {
    const path = `/api/v1/cluster/convergence?revision=${revision}&wait=5`;
    return answerAs(convergenceSchema, await askAdmin(access, path)).converged;
  } catch (error) {
    // The token is made; a node that can't be asked now is no reason to hide it.
    if (error instanceof CliError && error.exitCode !== EXIT.usage) return false;
    throw error;
  }
}

function pathOf(name: string): string {
  return `/api/v1/administrators/${encodeURIComponent(name)}`;
}

function days(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("give a whole number from 1 to 9999");
  return Number(text);
}
