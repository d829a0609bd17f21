import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { after, describe, test } from "node:test";
import { type Borrower, borrowReads, returnReads, withOwnReads } from "./reads.js";

const FREE: Borrower = { passed: 0, shown: () => 0 };

const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
});

/** A client's socket and ours, which reads by itself. */
async function pair(): Promise<{ client: Socket; ours: Socket; server: Server }> {
  const server = createServer({ pauseOnConnect: true });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const client = connect(address.port, "127.0.0.1");
  const [accepted] = (await once(server, "connection")) as [Socket];
  return { client, ours: withOwnReads(accepted), server };
}

/** Sends `data` and collects what "data" listeners see, copied at once. */
async function carry(client: Socket, ours: Socket, data: Buffer, onData?: (chunk: Buffer) => void): Promise<Buffer> {
  const seen: Buffer[] = [];
  ours.on("data", (chunk) => {
    onData?.(chunk);
    seen.push(Buffer.from(chunk));
  });
  ours.resume();
  client.end(data);
  await once(ours, "end");
  return Buffer.concat(seen);
}

describe("reads of a socket", () => {
  test("it is a socket like any other: addresses, pause, unshift, end, and the server counts it as gone", async () => {
    const { client, ours, server } = await pair();
    assert.equal(ours.remotePort, client.localPort);
    assert.equal(ours.isPaused(), true);
    const data = randomBytes(3 << 20);
    ours.unshift(Buffer.from("first "));
    ours.write("answer");
    const [answer] = (await once(client, "data")) as [Buffer];
    assert.equal(String(answer), "answer");
    let pauses = 0;
    const seen = await carry(client, ours, data, () => {
      if (pauses++ % 5 > 0) return;
      ours.pause();
      setImmediate(() => ours.resume());
    });
    assert.ok(seen.equals(Buffer.concat([Buffer.from("first "), data])));
    assert.equal(ours.bytesRead, data.length);
    server.close();
    await once(server, "close");
  });

  test("what isn't lent keeps its content, whatever is read afterwards", async () => {
    const { client, ours } = await pair();
    const data = randomBytes(2 << 20);
    const kept: Buffer[] = [];
    await carry(client, ours, data, (chunk) => kept.push(chunk));
    assert.ok(Buffer.concat(kept).equals(data));
    ours.destroy();
  });

  test("bulk reads that were free go into the same memory again", async () => {
    const { client, ours } = await pair();
    const memories: ArrayBufferLike[] = [];
    const borrower: Borrower = {
      passed: 0,
      shown: (memory) => {
        memories.push(memory);
        return 0;
      },
    };
    assert.ok(borrowReads(ours, borrower));
    const data = randomBytes(8 << 20);
    assert.ok((await carry(client, ours, data)).equals(data));
    assert.ok(memories.length > 3);
    assert.ok(new Set(memories).size < memories.length / 2);
    ours.destroy();
  });

  test("what a borrower may still hold is never written over", async () => {
    for (const answer of [undefined, 1]) {
      const { client, ours } = await pair();
      const held: Buffer[] = [];
      borrowReads(ours, { passed: 0, shown: () => answer });
      const data = randomBytes(6 << 20);
      await carry(client, ours, data, (chunk) => held.push(chunk));
      assert.ok(Buffer.concat(held).equals(data), String(answer));
      ours.destroy();
    }
  });

  test("a borrower that is always some reads behind has its memory used again, and never too early", async () => {
    const { client, ours } = await pair();
    const memories = new Set<ArrayBufferLike>();
    const waiting: Buffer[] = [];
    const taken: Buffer[] = [];
    let came = 0;
    let reads = 0;
    const borrower = {
      passed: 0,
      shown: (memory: ArrayBufferLike) => {
        memories.add(memory);
        reads += 1;
        return came;
      },
    };
    borrowReads(ours, borrower);
    const data = randomBytes(64 << 20);
    await carry(client, ours, data, (chunk) => {
      waiting.push(chunk);
      came += chunk.length;
      while (waiting.length > 8) {
        const first = waiting.shift() as Buffer;
        taken.push(Buffer.from(first));
        borrower.passed += first.length;
      }
    });
    assert.ok(Buffer.concat([...taken, ...waiting]).equals(data));
    assert.ok(memories.size < reads / 4, `${memories.size} for ${reads} reads`);
    ours.destroy();
  });

  test("one borrower at a time; after the return reads are copied again", async () => {
    const { client, ours } = await pair();
    assert.ok(borrowReads(ours, FREE));
    assert.equal(borrowReads(ours, FREE), false);
    const data = randomBytes(8 << 20);
    const kept: Buffer[] = [];
    let reads = 0;
    await carry(client, ours, data, (chunk) => {
      if (++reads === 5) returnReads(ours);
      // the read after the return is the first that must be its own
      if (reads > 5) kept.push(chunk);
    });
    const tail = Buffer.concat(kept);
    assert.ok(tail.length > 0 && tail.equals(data.subarray(data.length - tail.length)));
    ours.destroy();
  });
});
