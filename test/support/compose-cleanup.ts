import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { markName } from "../runner/processes.js";

/**
 * Removes what is left of a test's containers (a compose project, or machines): containers, networks, volumes, mounts,
 * directories.
 *
 * Run as a program it waits until its standard input ends, which the kernel does for it when the test process is gone,
 * however it went (`kill -9`, too), and then cleans up: `node compose-cleanup.js LABEL=VALUE [DIRECTORY...]`.
 */

const LIMIT_MS = 60_000;

/** What the engine's things of a compose project bear. */
export const projectLabel = (project: string) => `com.docker.compose.project=${project}`;

/** Idempotent. `label` is LABEL=VALUE; `directories` go with all that is mounted in them. */
export function removeLabelled(label: string, directories: readonly string[]): void {
  const filter = ["--filter", `label=${label}`];
  remove(["ps", "--all", "--quiet", ...filter], ["rm", "--force", "--volumes"]);
  remove(["network", "ls", "--quiet", ...filter], ["network", "rm"]);
  remove(["volume", "ls", "--quiet", ...filter], ["volume", "rm", "--force"]);
  for (const directory of directories) {
    for (const mount of mountsBelow(directory, readFileSync("/proc/self/mounts", "utf8")))
      spawnSync("umount", ["--lazy", mount], { stdio: "ignore", timeout: LIMIT_MS });
    rmSync(directory, { recursive: true, force: true });
    removeIfEmpty(dirname(directory));
  }
}

function remove(list: readonly string[], removal: readonly string[]): void {
  const listed = spawnSync("docker", list, { encoding: "utf8", timeout: LIMIT_MS });
  const ids = (listed.stdout ?? "").split("\n").filter((id) => id !== "");
  if (ids.length > 0) spawnSync("docker", [...removal, ...ids], { stdio: "ignore", timeout: LIMIT_MS });
}

/** Mount points at or below a directory, the innermost first; `mounts` is as in /proc/self/mounts. */
export function mountsBelow(directory: string, mounts: string): string[] {
  return mounts
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((point) => point === directory || point.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length);
}

function removeIfEmpty(directory: string): void {
  try {
    if (readdirSync(directory).length === 0) rmdirSync(directory);
  } catch {
    // Another test has just put something there, or removed it.
  }
}

/** Starts the program below: it cleans up when this process is gone. */
export function guard(label: string, directories: readonly string[]): void {
  // Without the runner's mark: the runner ends whatever bears it before it can do its work.
  const { [markName]: _, ...env } = process.env;
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), label, ...directories], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
    env,
  });
  child.unref();
  const { stdin } = child;
  stdin?.on("error", () => undefined);
  if (stdin !== null && "unref" in stdin && typeof stdin.unref === "function") stdin.unref();
}

const [, program, label, ...directories] = process.argv;
if (program === fileURLToPath(import.meta.url) && label !== undefined) {
  process.stdin.resume();
  process.stdin.once("close", () => removeLabelled(label, directories));
}
