import { createHash } from "node:crypto";

/** What nodes say of the configuration in force. */
interface InForce {
  readonly revision: number;
  readonly hash: string;
}

/**
 * The hash of all that must be the same on every node: the configuration, and what comes from files of the node itself
 * (the cluster key's ids, certificates), each as `<what it is>` and something that stands for its content. Empty before
 * there is a configuration. Pure.
 */
export function hashInForce(configHash: string, files: Readonly<Record<string, string>>): string {
  if (configHash === "") return "";
  const lines = Object.entries(files).map(([name, content]) => `${name}\0${content}\n`);
  return createHash("sha256")
    .update(`${configHash}\n${lines.sort().join("")}`)
    .digest("hex");
}

/** Whether another node runs something else at the same revision: a file of one of them is an old one, or damaged. Pure. */
export function isMismatch(own: InForce, others: readonly InForce[]): boolean {
  return own.hash !== "" && others.some(({ revision, hash }) => revision === own.revision && hash !== own.hash);
}
