import { type Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import { monotonicMs } from "#lib/clock.js";
import { type AdminAccess, askAdmin } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { columns, json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { sleep } from "../wait.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const activeSchema = z.looseObject({
  mode: z.string(),
  order: z.array(z.string()),
  active: z.looseObject({ name: z.string(), since: z.string(), how: z.string() }).nullable(),
  nodes: z.array(
    z.looseObject({
      name: z.string(),
      state: z.string(),
      active: z.boolean(),
      place: z.number(),
      sessions: z.number(),
      transfers: z.number(),
    }),
  ),
});
type Shown = z.infer<typeof activeSchema>;
const switchedSchema = z.looseObject({
  from: z.string().nullable(),
  to: z.string(),
  switched: z.boolean(),
  dryRun: z.boolean(),
});

interface SwitchOptions extends ClientOptions {
  readonly to?: string;
  readonly wait?: number | true;
  readonly dryRun?: boolean;
}

/** How long `--wait` waits if it isn't told, in seconds. */
const DEFAULT_WAIT = 600;
/** A well node that was made the active one takes far less. */
const TAKES_OVER_MS = 30_000;
const LOOK_MS = 250;

export function addActiveCommands(program: Command): void {
  const active = program.command("active").description("which node takes partners, in the mode active-passive");
  withSite(active.command("show").description("the active node, and who would take over, in their order")).action(
    async (options: ClientOptions) => {
      const answer = await show(adminAccess(options));
      process.stdout.write(options.output === "json" ? json(answer) : text(answer));
    },
  );
  withSite(
    active.command("switch").description("make another node the active one; running transfers end where they are"),
  )
    .option("--to <node>", "name or id (default: the first in the order that isn't active now)")
    .option(
      "-w, --wait [seconds]",
      `until the new one takes partners and the former one's transfers have ended (default: at most ${DEFAULT_WAIT} s)`,
      seconds,
    )
    .option("--dry-run", "say which node it would be, and change nothing")
    .action(switchActive);
}

async function switchActive(options: SwitchOptions): Promise<void> {
  const access = adminAccess(options);
  const begun = monotonicMs();
  const body = { ...(options.to === undefined ? {} : { to: options.to }), dryRun: options.dryRun === true };
  const answer = answerAs(
    switchedSchema,
    await askAdmin(access, "/api/v1/cluster/active/switch", { method: "POST", body }),
  );
  const waited = options.wait !== undefined && !answer.dryRun ? await wait(access, answer, options.wait) : {};
  const tookSeconds = Math.round(monotonicMs() - begun) / 1_000;
  process.stdout.write(
    options.output === "json" ? json({ ...answer, ...waited, seconds: tookSeconds }) : said(answer, waited),
  );
}

interface Waited {
  /** Whether the former active node has no session left. */
  readonly drained?: boolean;
  readonly sessions?: number;
  readonly transfers?: number;
}

/**
 * Throws a CliError where the new one doesn't take partners, or the former one can't be heard of; transfers that still run
 * are no failure.
 */
async function wait(access: AdminAccess, answer: z.infer<typeof switchedSchema>, most: number | true): Promise<Waited> {
  const until = monotonicMs() + (most === true ? DEFAULT_WAIT : most) * 1_000;
  const servesUntil = monotonicMs() + TAKES_OVER_MS;
  let told = "";
  for (;;) {
    const now = await show(access);
    const to = now.nodes.find(({ name }) => name === answer.to);
    const from = now.nodes.find(({ name }) => name === answer.from && name !== answer.to);
    const serves = to?.active === true && to.state === "ready";
    const { sessions, transfers } = from ?? { sessions: 0, transfers: 0 };
    // One that isn't in the list is down, or has lost its lease and still runs transfers.
    const unknown = from === undefined && answer.from !== null && answer.from !== answer.to;
    if (serves && unknown && monotonicMs() >= until) throw unheard(answer.to, answer.from);
    if (serves && !unknown && sessions === 0) return { drained: true, sessions, transfers };
    if (serves && monotonicMs() >= until) return { drained: false, sessions, transfers };
    if (!serves && monotonicMs() >= servesUntil) {
      const seen = to === undefined ? "it is gone" : `it is ${to.state}`;
      throw new CliError(EXIT.failed, `${answer.to} doesn't take partners yet: ${seen}. See longshore active show`);
    }
    const drains = unknown
      ? `${answer.from}: unknown, the site doesn't hear from it`
      : `${answer.from} drains: ${sessions} sessions, ${transfers} transfers`;
    const progress = serves ? drains : `waiting for ${answer.to}`;
    if (progress !== told) process.stderr.write(`${progress}\n`);
    told = progress;
    await sleep(LOOK_MS);
  }
}

function unheard(to: string, from: string | null): CliError {
  return new CliError(
    EXIT.failed,
    `${to} is the active node now, and the site doesn't hear from ${from}: transfers may still run there. ` +
      "Look on its host whether its process runs: without one nothing is left there; else give the command again",
  );
}

async function show(access: AdminAccess): Promise<Shown> {
  return answerAs(activeSchema, await askAdmin(access, "/api/v1/cluster/active"));
}

function text({ mode, active, nodes }: Shown): string {
  if (mode !== "active-passive") return `mode ${mode}: every node takes partners\n`;
  const head =
    active === null
      ? "no node is the active one"
      : `${active.name} is the active node since ${active.since} (${active.how})`;
  const rows = nodes.map((node) => ({ ...node, active: node.active ? "yes" : "-" }));
  return `mode ${mode}: ${head}\n\n${columns(["place", "name", "active", "state", "sessions", "transfers"], rows)}`;
}

function said({ from, to, switched, dryRun }: z.infer<typeof switchedSchema>, { drained, transfers }: Waited): string {
  const before = from === null ? "" : ` after ${from}`;
  if (dryRun)
    return from === to ? `${to} is the active node: nothing to do\n` : `${to} would be the active node${before}\n`;
  const now = switched ? `${to} is the active node now${before}\n` : `${to} is the active node already\n`;
  if (drained === undefined || from === null || from === to) return now;
  return drained ? `${now}${from} is drained\n` : `${now}${from} still drains: ${transfers ?? 0} transfers run on it\n`;
}

function seconds(value: string): number {
  if (/^\d{1,6}$/.test(value)) return Number(value);
  throw new InvalidArgumentError("give a whole number of seconds");
}
