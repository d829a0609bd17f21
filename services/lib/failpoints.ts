/**
 * Places where a test kills the process, between any two steps of the commit: `LONGSHORE_FAILPOINT=<name>[:<nth>]` in the
 * environment makes the nth passing (1 by default) a `kill -9` of this process. Without it a passing costs one comparison.
 */
export const FAILPOINTS = [
  "upload-synced",
  "commit-sent",
  "commit-applied",
  "renamed",
  "placed",
  "replied",
  "recorded",
  "finish-sent",
  "finish-applied",
  "cleaned",
] as const;
export type Failpoint = (typeof FAILPOINTS)[number];

const [armed, nth] = (process.env.LONGSHORE_FAILPOINT ?? "").split(":");
let left = Number(nth ?? 1);

export function failpoint(name: Failpoint): void {
  if (armed !== name) return;
  left -= 1;
  if (left === 0) process.kill(process.pid, "SIGKILL");
}
