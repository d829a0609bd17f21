import { type Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import { monotonicMs } from "#lib/clock.js";
import { askAdmin, askAll } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { columns, json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { until } from "../wait.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const WAIT_STEP_MS = 500;
/** A balancer hears of the wish a quarter of a second after the node, and the node tells its load once a second. */
const QUIET_MS = 2_000;
const loadSchema = z.looseObject({ sessions: z.number().default(0), transfers: z.number().default(0) }).prefault({});

/** What the commands need of a node; whatever else it says is passed on. */
export const nodeSchema = z.looseObject({ id: z.string(), name: z.string(), state: z.string(), load: loadSchema });
type Node = z.infer<typeof nodeSchema>;
const nodesSchema = z.array(nodeSchema);

const COLUMNS = ["name", "slot", "state", "revision", "version", "id"] as const;

export function addNodeCommands(program: Command): void {
  const node = program.command("node").description("the site's nodes");
  withSite(node.command("list").description("each node with its state")).action(async (options: ClientOptions) => {
    const nodes = await listNodes(options);
    if (options.output === "json") process.stdout.write(json(nodes));
    else process.stdout.write(nodeTable(nodes));
  });
  withSite(
    node
      .command("drain")
      .description("let a node take no new sessions; running ones go on")
      .argument("<node>", "name or id"),
  )
    .option("--wait", "return when no transfer runs there any more, and say meanwhile how many do")
    .option("--timeout <seconds>", "with --wait: give up after so long; the node goes on draining", wholeSeconds, 600)
    .action(async (name: string, options: DrainOptions) => {
      await act(name, "drain", options);
      if (options.wait === true) await untilIdle(name, options);
    });
  withSite(
    node.command("undrain").description("let a drained node take sessions again").argument("<node>", "name or id"),
  ).action((name: string, options: ClientOptions) => act(name, "undrain", options));
}

interface DrainOptions extends ClientOptions {
  readonly wait?: boolean;
  readonly timeout: number;
}

/** Sessions without a transfer don't count: their partners come back elsewhere when the node stops. */
async function untilIdle(nameOrId: string, options: DrainOptions): Promise<void> {
  let said: string | undefined;
  let quietSince: number | undefined;
  let isThere = true;
  const isIdle = async () => {
    const node = (await listNodes(options)).find(({ id, name }) => id === nameOrId || name === nameOrId);
    const words = remaining(node);
    if (words !== said) process.stderr.write(`${nameOrId}: ${words}\n`);
    said = words;
    isThere = node !== undefined;
    // Not the first instant without one: a session may just be on its way from the balancer.
    const quiet = node?.state === "draining" && node.load.transfers === 0;
    quietSince = quiet ? (quietSince ?? monotonicMs()) : undefined;
    return quietSince !== undefined && monotonicMs() - quietSince >= QUIET_MS;
  };
  if (await until(isIdle, { timeoutMs: options.timeout * 1_000, everyMs: WAIT_STEP_MS })) return;
  const next = isThere
    ? "it goes on draining: wait again, or end what is left with `longshore session kill`"
    : "look on its host whether its process runs: without one nothing is left there; else wait again";
  throw new CliError(EXIT.failed, `${nameOrId} isn't idle after ${options.timeout} s: ${said}; ${next}`);
}

/** One that isn't in the list is down, or has lost its lease and still runs transfers: from here nobody can tell. */
function remaining(node: Node | undefined): string {
  if (node === undefined) return "unknown: the site doesn't hear from the node";
  const { sessions, transfers } = node.load;
  // The wish is in force once the node itself says so.
  return node.state === "draining" ? `${transfers} transfers, ${sessions} sessions left` : `the node is ${node.state}`;
}

function wholeSeconds(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("give whole seconds");
  return Number(text);
}

/** The nodes as a table. */
export function nodeTable(nodes: readonly Node[]): string {
  return columns(COLUMNS, nodes);
}

async function listNodes(options: ClientOptions): Promise<Node[]> {
  return answerAs(nodesSchema, await askAll(adminAccess(options), "/api/v1/nodes", "nodes"));
}

async function act(nameOrId: string, action: "drain" | "undrain", options: ClientOptions): Promise<void> {
  const path = `/api/v1/nodes/${encodeURIComponent(nameOrId)}/${action}`;
  const answer = await askAdmin(adminAccess(options), path, { method: "POST" });
  const said = action === "drain" ? "takes no new sessions" : "takes sessions again";
  process.stdout.write(options.output === "json" ? json(answer ?? null) : `${nameOrId} ${said}\n`);
}
