import type { Command } from "commander";
import { z } from "zod";
import { askAdmin } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import { cell, json, table } from "../output.js";
import { adminAccess } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const nodeSchema = z.looseObject({ id: z.string(), name: z.string(), state: z.string() });
type Node = z.infer<typeof nodeSchema>;
const nodesSchema = z.union([z.array(nodeSchema), z.looseObject({ nodes: z.array(nodeSchema) })]);

const COLUMNS = ["name", "slot", "state", "revision", "version", "id"] as const;

export function addNodeCommands(program: Command): void {
  const node = program.command("node").description("the site's nodes");
  withSite(node.command("list").description("each node with its state")).action(async (options: ClientOptions) => {
    const nodes = await listNodes(options);
    if (options.output === "json") process.stdout.write(json(nodes));
    else
      process.stdout.write(
        table(
          COLUMNS.map((name) => name.toUpperCase()),
          nodes.map((one) => COLUMNS.map((name) => cell(one[name]))),
        ),
      );
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

async function listNodes(options: ClientOptions): Promise<Node[]> {
  const answer = answerAs(nodesSchema, await askAdmin(adminAccess(options), "/api/v1/nodes"));
  return Array.isArray(answer) ? answer : answer.nodes;
}

async function act(nameOrId: string, action: "drain" | "undrain", options: ClientOptions): Promise<void> {
  const nodes = await listNodes(options);
  const node = nodes.find(({ id, name }) => id === nameOrId || name === nameOrId);
  if (node === undefined) {
    throw new CliError(
      EXIT.notFound,
      `there is no node ${nameOrId}; there are ${nodes.map(({ name }) => name).join(", ") || "none"}`,
    );
  }
  const path = `/api/v1/nodes/${encodeURIComponent(node.id)}/${action}`;
  const answer = await askAdmin(adminAccess(options), path, { method: "POST" });
  process.stdout.write(
    options.output === "json"
      ? json(answer ?? null)
      : `${node.name}: ${action === "drain" ? "draining" : "takes sessions again"}\n`,
  );
}
