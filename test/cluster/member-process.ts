import { createMembership } from "#cluster/membership.js";
import { connect, heartbeat, identity, recordingLogger } from "./fixture.js";

/** A node's membership alone, as a process that tests can kill: `ENDPOINTS SITE NAME SLOT ID [TTL]`, reports in JSON lines. */
const [endpoints = "", site = "", name = "", slot = "", id = "", ttl = "3000"] = process.argv.slice(2);

const report = (line: Record<string, unknown>) => process.stdout.write(`${JSON.stringify(line)}\n`);
const logger = recordingLogger();
const coordination = connect(endpoints.split(","), site);
const membership = createMembership({
  coordination,
  identity: identity(name, Number(slot), id),
  heartbeat,
  logger,
  lease: { ttlMs: Number(ttl) },
  patienceMs: 1_000,
});
membership.onIncarnation(({ incarnation, ownerRevision }) => report({ incarnation, ownerRevision }));
process.once("SIGTERM", () => {
  void membership
    .stop()
    .then(() => coordination.close())
    .then(() => process.exit(0));
});
membership.start().catch(async (error: unknown) => {
  report({ error: error instanceof Error ? error.message : String(error) });
  await membership.stop();
  await coordination.close();
  process.exit(1);
});
// The lease's timers keep no process alive; this one does.
setInterval(() => {}, 60_000);
