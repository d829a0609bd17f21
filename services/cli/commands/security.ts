import type { Command } from "commander";
import { z } from "zod";
import { askAdmin } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { cell, columns, json, size } from "../output.js";
import { adminAccess } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

/** `ban`, `session` and `transfer`: who is shut out, who is in, and what runs, on all nodes together. */

const banSchema = z.looseObject({ address: z.string(), active: z.boolean() });
const bansSchema = z.looseObject({ bans: z.array(banSchema) });
const lockoutsSchema = z.looseObject({
  lockouts: z.array(z.looseObject({ account: z.string(), active: z.boolean() })),
});
const listed = { total: z.number(), silent: z.array(z.string()) };
const sessionsSchema = z.looseObject({ ...listed, sessions: z.array(z.looseObject({ id: z.string() })) });
const transfersSchema = z.looseObject({ ...listed, transfers: z.array(z.looseObject({ id: z.string() })) });
const killedSchema = z.looseObject({ id: z.string(), node: z.string() });

const BAN_COLUMNS = ["address", "until", "level", "by", "reason"] as const;
const LOCKOUT_COLUMNS = ["account", "until", "level"] as const;
const SESSION_COLUMNS = ["id", "account", "address", "node", "protocol", "method", "since"] as const;
const TRANSFER_COLUMNS = ["id", "account", "node", "direction", "bytes", "path", "since"] as const;

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

export function addSecurityCommands(program: Command): void {
  const ban = program.command("ban").description("addresses that are shut out, on all nodes");
  withSite(ban.command("list").description("bans in force"))
    .option("--all", "also those that are over and only remembered")
    .action(listBans);
  withSite(
    ban
      .command("add")
      .description("ban an address or a network; its sessions end")
      .argument("<address>", "192.0.2.7, 192.0.2.0/24, 2001:db8::/32"),
  )
    .option("--for <time>", "how long: 90s, 30m, 12h, 7d (default: until it is removed)", seconds)
    .option("--reason <text>")
    .action(addBan);
  withSite(ban.command("remove").description("lift a ban").argument("<address>", "as `ban list` shows it")).action(
    (address: string, options: ClientOptions) =>
      remove(`/api/v1/bans/${encodeURIComponent(address)}`, address, options),
  );

  const lockout = program.command("lockout").description("accounts whose passwords are locked for new addresses");
  withSite(lockout.command("list").description("lockouts in force"))
    .option("--all", "also those that are over and only remembered")
    .action(listLockouts);
  withSite(lockout.command("remove").description("lift a lockout").argument("<account>")).action(
    (account: string, options: ClientOptions) =>
      remove(`/api/v1/lockouts/${encodeURIComponent(account)}`, account, options),
  );

  const session = program.command("session").description("who is logged in, on all nodes");
  withSite(session.command("list").description("all sessions, the oldest first")).action(listSessions);
  withSite(session.command("kill").description("end a session, whichever node it is on").argument("<id>")).action(kill);

  const transfer = program.command("transfer").description("uploads and downloads under way");
  withSite(transfer.command("list").description("all transfers, the oldest first")).action(listTransfers);
}

interface ListOptions extends ClientOptions {
  readonly all?: boolean;
}

async function listBans(options: ListOptions): Promise<void> {
  const { bans } = answerAs(bansSchema, await askAdmin(adminAccess(options), "/api/v1/bans"));
  show(
    bans.filter(({ active }) => active || options.all),
    BAN_COLUMNS,
    options,
  );
}

async function listLockouts(options: ListOptions): Promise<void> {
  const { lockouts } = answerAs(lockoutsSchema, await askAdmin(adminAccess(options), "/api/v1/lockouts"));
  show(
    lockouts.filter(({ active }) => active || options.all),
    LOCKOUT_COLUMNS,
    options,
  );
}

async function addBan(address: string, options: ClientOptions & { for?: number; reason?: string }): Promise<void> {
  const body = {
    address,
    ...(options.for === undefined ? {} : { seconds: options.for }),
    ...(options.reason === undefined ? {} : { reason: options.reason }),
  };
  const answer = await askAdmin(adminAccess(options), "/api/v1/bans", { method: "POST", body });
  const made = answerAs(banSchema, answer);
  const until = made.until === null ? "until it is removed" : `until ${cell(made.until)}`;
  process.stdout.write(options.output === "json" ? json(made) : `${made.address} is banned ${until}\n`);
}

async function remove(path: string, what: string, options: ClientOptions): Promise<void> {
  await askAdmin(adminAccess(options), path, { method: "DELETE" });
  process.stdout.write(options.output === "json" ? json({ removed: what }) : `removed ${what}\n`);
}

async function listSessions(options: ClientOptions): Promise<void> {
  const answer = answerAs(sessionsSchema, await askAdmin(adminAccess(options), "/api/v1/sessions"));
  show(answer.sessions, SESSION_COLUMNS, options);
  warnOf(answer, answer.sessions.length);
}

async function listTransfers(options: ClientOptions): Promise<void> {
  const answer = answerAs(transfersSchema, await askAdmin(adminAccess(options), "/api/v1/transfers"));
  const rows =
    options.output === "json"
      ? answer.transfers
      : answer.transfers.map((one) => ({ ...one, bytes: typeof one.bytes === "number" ? size(one.bytes) : one.bytes }));
  show(rows, TRANSFER_COLUMNS, options);
  warnOf(answer, answer.transfers.length);
}

async function kill(id: string, options: ClientOptions): Promise<void> {
  const path = `/api/v1/sessions/${encodeURIComponent(id)}`;
  const answer = answerAs(killedSchema, await askAdmin(adminAccess(options), path, { method: "DELETE" }));
  process.stdout.write(options.output === "json" ? json(answer) : `ended ${answer.id} on ${answer.node}\n`);
}

function show(rows: readonly Record<string, unknown>[], names: readonly string[], options: ClientOptions): void {
  process.stdout.write(options.output === "json" ? json(rows) : columns(names, rows));
}

/** What the list lacks goes to standard error, so that scripts still read the list. */
function warnOf({ total, silent }: { total: number; silent: readonly string[] }, shown: number): void {
  if (silent.length > 0) process.stderr.write(`longshore: not heard from: ${silent.join(", ")}\n`);
  if (total > shown) process.stderr.write(`longshore: ${total - shown} more aren't shown\n`);
}

function seconds(text: string): number {
  const [, count, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const factor = UNITS[unit];
  if (count === undefined || factor === undefined || Number(count) === 0) {
    throw new CliError(EXIT.usage, `--for ${text}: write a time such as 90s, 30m, 12h or 7d`);
  }
  return Number(count) * factor;
}
