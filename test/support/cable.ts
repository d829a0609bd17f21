import { execFileSync } from "node:child_process";
import { hostLink } from "./compose-plan.js";

/**
 * Pulls the network cable (eth0) of the container whose first process has this id: no goodbye, no reset, as when a host
 * loses its power. Takes effect before it returns; returns how to plug it in again.
 */
export function pullCable(pid: number): () => void {
  const inside = execFileSync("nsenter", ["-t", `${pid}`, "-n", "ip", "-j", "link", "show", "eth0"]);
  const [link] = JSON.parse(inside.toString("utf8")) as { link_index?: number }[];
  const { name, bridge } = hostLink(link?.link_index ?? -1, execFileSync("ip", ["-j", "link"], { encoding: "utf8" }));
  ip("link", "set", name, "nomaster");
  return () => ip("link", "set", name, "master", bridge);
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", 2, 2] });
}
