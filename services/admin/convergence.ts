import type { IncomingMessage } from "node:http";
import type { NodeRecord } from "#cluster/contract.js";
import type { MembersView } from "#cluster/members.js";

/** Whether each living node has `revision` in force. A site without living nodes has converged on nothing. */
export function convergenceOf(members: readonly NodeRecord[], revision: number) {
  const nodes = members.map((each) => ({
    id: each.id,
    name: each.name,
    revision: each.revision,
    hash: each.hash,
    converged: each.revision >= revision,
  }));
  return { revision, converged: nodes.length > 0 && nodes.every(({ converged }) => converged), nodes };
}

/** Names of nodes that have this revision in force and yet another configuration: one of the two is wrong. */
export function mismatchesOf(members: readonly NodeRecord[], revision: number, hash: string): string[] {
  const same = members.filter((each) => each.revision === revision && revision > 0);
  return same.filter((each) => each.hash !== hash).map(({ name }) => name);
}

/** Requests that wait at once; further ones are answered with what is known. */
const MOST_WAITING = 256;

/** Waits until `done`, asked whenever the members say something new, at most `ms` or until the client hangs up. */
export function createWaiting(members: Pick<MembersView, "onChange">) {
  let waiting = 0;
  return async (done: () => boolean, ms: number, request: IncomingMessage): Promise<void> => {
    if (done() || waiting >= MOST_WAITING) return;
    waiting++;
    await new Promise<void>((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        off();
        request.socket.off("close", finish);
        waiting--;
        resolve();
      };
      const timer = setTimeout(finish, ms);
      const off = members.onChange(() => void (done() && finish()));
      request.socket.on("close", finish);
    });
  };
}
