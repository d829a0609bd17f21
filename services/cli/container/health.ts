import { readFileSync } from "node:fs";
import { get } from "node:https";
import { networkInterfaces } from "node:os";

/**
 * The health check of a node's container, which has no curl: exit code 0 where the node is ready. It runs every few
 * seconds, so it loads nothing else.
 */
const ADMIN_PORT = 8080;
const PATIENCE_MS = 2_500;
/** services/cli/container/plan.ts, which would bring half of the product along. */
const AUTHORITY = "/etc/longshore/node/admin-ca.pem";

const own = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === "IPv4" && !each.internal);
const request = get(
  {
    host: own?.address ?? "127.0.0.1",
    port: ADMIN_PORT,
    path: "/health/ready",
    timeout: PATIENCE_MS,
    ca: readFileSync(AUTHORITY),
  },
  (response) => {
    // What it says is shown by `docker inspect`.
    response.pipe(process.stdout);
    response.on("end", () => process.exit(response.statusCode === 200 ? 0 : 1));
  },
);
request.on("timeout", () => request.destroy(new Error("no answer in time")));
request.on("error", (error) => {
  process.stdout.write(`${error.message}\n`);
  process.exit(1);
});
