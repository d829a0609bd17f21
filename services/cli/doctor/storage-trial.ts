import { randomBytes } from "node:crypto";
import { z } from "zod";
import { type AdminAccess, AdminError, askAdmin } from "../admin-client.js";
import { messageOf } from "../errors.js";
import type { NodeFacts, TrialFacts, TrialPair } from "./facts.js";

const TIMEOUT_MS = 6_000;
const answerSchema = z.looseObject({
  outcome: z.string(),
  note: z.string().optional(),
  movedNote: z.string().optional(),
});
type Answer = z.infer<typeof answerSchema>;
type Act = "create" | "look" | "rename" | "remove";

/**
 * Has each node make a file on the storage, the next one try to make it, too, see it and rename it, and the first one look
 * again; then all make one file at once. What was made is removed. Undefined where no node has told its status.
 */
export async function tryStorage(
  nodes: readonly NodeFacts[],
  accessTo: (node: NodeFacts) => AdminAccess,
): Promise<TrialFacts | undefined> {
  const able = nodes.filter(({ answer }) => {
    return answer.kind === "status" && answer.status.node.storage?.healthy === true;
  });
  if (able.length === 0) return undefined;
  const problems: { node: string; problem: string; refused: boolean }[] = [];
  const act = async (node: NodeFacts, name: string, what: Act): Promise<Answer> => {
    try {
      const request = { method: "POST", body: { name, act: what }, timeoutMs: TIMEOUT_MS } as const;
      return answerSchema.parse(await askAdmin(accessTo(node), "/api/v1/storage/trial", request));
    } catch (error) {
      // A viewer's token, or a node of the version before: no fault of the storage.
      const refused = error instanceof AdminError && [401, 403, 404].includes(error.status);
      if (!problems.some((known) => known.node === node.name)) {
        problems.push({ node: node.name, problem: messageOf(error), refused });
      }
      throw error;
    }
  };

  const pairs: TrialPair[] = [];
  for (const [index, creator] of able.entries()) {
    const other = able[(index + 1) % able.length] ?? creator;
    // Two nodes are one pair, either way round.
    if (able.length === 2 && index === 1) break;
    const name = newName();
    try {
      await act(creator, name, "create");
      const created = await act(other, name, "create");
      const found = await act(other, name, "look");
      const renamed = await act(other, name, "rename");
      const after = await act(creator, name, "look");
      pairs.push({
        creator: creator.name,
        other: other.name,
        created: created.outcome,
        found: found.note,
        renamed: renamed.outcome,
        stillThere: after.note !== undefined,
        moved: after.movedNote === creator.name,
      });
    } catch {
      // Kept in `problems`.
    } finally {
      await Promise.allSettled([creator, other].map((node) => act(node, name, "remove")));
    }
  }

  const name = newName();
  const race = await Promise.allSettled(able.map((node) => act(node, name, "create")));
  await Promise.allSettled(able.map((node) => act(node, name, "remove")));
  const winners = able.filter((_, index) => {
    const result = race[index];
    return result?.status === "fulfilled" && result.value.outcome === "done";
  });
  return { nodes: able.map((node) => node.name), pairs, winners: winners.map((node) => node.name), problems };
}

function newName(): string {
  return randomBytes(8).toString("hex");
}
