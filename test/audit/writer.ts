import { createShipper } from "#audit/ship.js";
import { openSpool } from "#audit/spool.js";
import type { Logger } from "#lib/logger.js";

/** `writer.js SPOOL TARGET LIFE`: records as fast as it can, and prints each number that is durable; killed by its test. */
const [directory = "", target = "", life = ""] = process.argv.slice(2);
const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

const spool = await openSpool({
  directory,
  node: "alpha",
  nodeId: "0f8e7d6c-1111-4222-8333-444455556666",
  life,
  version: "test",
  logger: silent,
  segmentBytes: 40_000,
});
createShipper({ spool, directory, target: () => target, logger: silent, gatherMs: 1 }).start();

let count = 0;
const lane = async () => {
  for (;;) {
    count += 1;
    const transfer = `${life}-${count}`;
    await spool.recordDurably({ kind: "transfer", what: "upload", outcome: "complete", transfer, who: "ann" });
    process.stdout.write(`${transfer}\n`);
  }
};
await Promise.all(Array.from({ length: 16 }, lane));
