import { createEmbeddedCoordination } from "#coordination/embedded.js";

// Run by embedded.test.ts as a process of its own, to be killed: prints each number once its transaction is confirmed.
const directory = process.argv[2];
if (!directory) throw new Error("usage: embedded-writer.js <directory>");
const store = createEmbeddedCoordination({ directory });
const lease = await store.lease();
await store.transact({ compare: [], apply: [{ put: "writer", value: String(process.pid), lease: lease.id }] });
let n = Number((await store.get("n"))?.value ?? 0);
process.stdout.write("open\n");
for (;;) {
  n += 1;
  const result = await store.transact({
    compare: [],
    apply: [
      { put: "n", value: String(n) },
      { put: `many/${n % 100}`, value: "x".repeat(n % 5_000) },
    ],
  });
  process.stdout.write(`ack ${n} at ${result.revision}\n`);
}
