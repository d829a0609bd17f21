import { randomUUID } from "node:crypto";
import { createCoordinator } from "#cluster/coordinator.js";
import { createMembership } from "#cluster/membership.js";
import { pause } from "#lib/clock.js";
import { isCode } from "#lib/errors.js";
import { connect, heartbeat, identity, recordingLogger } from "./fixture.js";

/**
 * A candidate that writes one key as fast as it can while it is the coordinator: `ENDPOINTS SITE NAME SLOT`. Reports each
 * write that was applied, and each end, in JSON lines. SIGUSR2: from now on it isn't ready.
 */
const [endpoints = "", site = "", name = "", slot = ""] = process.argv.slice(2);

const report = (line: Record<string, unknown>) => process.stdout.write(`${JSON.stringify({ name, ...line })}\n`);
const logger = recordingLogger();
const coordination = connect(endpoints.split(","), site);
const who = identity(name, Number(slot), randomUUID());
const membership = createMembership({ coordination, identity: who, heartbeat, logger });
let ready = true;
process.on("SIGUSR2", () => {
  ready = false;
});
const coordinator = createCoordinator({
  coordination,
  identity: who,
  membership,
  ready: () => ready,
  onEvent: (event, generation) => report({ event, generation }),
  works: [
    async (tenure) => {
      const { generation } = tenure;
      while (!tenure.signal.aborted) {
        try {
          const result = await tenure.transact({
            compare: [],
            apply: [{ put: "work", value: JSON.stringify({ name, generation }) }],
          });
          report({ event: "wrote", generation, revision: result.revision, applied: result.applied });
        } catch (error) {
          report({ event: isCode(error, "superseded") ? "superseded" : "doubt", generation });
        }
        await pause(10);
      }
    },
  ],
  logger,
});
process.once("SIGTERM", () => {
  void coordinator
    .stop()
    .then(() => membership.stop())
    .then(() => coordination.close())
    .then(() => process.exit(0));
});
await membership.start();
coordinator.start();
setInterval(() => {}, 60_000);
