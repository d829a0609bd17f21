import type { Command } from "commander";
import { z } from "zod";
import { askAdmin, askAll } from "../admin-client.js";
import { columns, json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

/** What the commands need of a node; whatever else it says is passed on. */
export const nodeSchema = z.looseObject({ id: z.string(), name: z.string(), state: z.string() });
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
  ).action((name: string, options: ClientOptions) => act(name, "drain", options));
  withSite(
    node.command("undrain").description("let a drained node take sessions again").argument("<node>", "name or id"),
  ).action((name: string, options: ClientOptions) => act(name, "undrain", options));
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
