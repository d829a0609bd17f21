import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import type { ClientChannel } from "ssh2";
import { generateHostKey } from "#config/host-keys.js";
import { monotonicMs } from "#lib/clock.js";
import { until } from "#lib/testing.js";
import { nativeCrypto } from "./native.js";
import { type Bench, endLine, logIn, openSubsystem, startBench } from "./testing.js";

/** The life of connections, over real SSH. */

async function echoes(channel: ClientChannel, text: string): Promise<boolean> {
  channel.write(text);
  const [data] = await once(channel, "data");
  return String(data) === text;
}

test("ssh2's native crypto is built here", () => {
  assert.ok(nativeCrypto());
});

test("an identification that comes byte by byte is understood", async (t) => {
  const bench = await startBench(t);
  const relay = createServer((from) => {
    const to = connect(bench.port, "127.0.0.1");
    to.setNoDelay(true);
    to.pipe(from);
    let slow = 30;
    from.on("data", async (chunk: Buffer) => {
      from.pause();
      let at = 0;
      for (; at < chunk.length && slow > 0; at++, slow--) {
        to.write(chunk.subarray(at, at + 1));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      if (at < chunk.length) to.write(chunk.subarray(at));
      from.resume();
    });
    for (const socket of [from, to]) socket.on("error", () => {});
    from.on("close", () => to.destroy());
    to.on("close", () => from.destroy());
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  t.after(() => relay.close());
  const address = relay.address();
  assert.ok(typeof address === "object" && address !== null);
  const client = await logIn(t, { ...bench.config, port: address.port });
  client.end();
});

test("what isn't SSH is closed with one line, and a bare connection with none", async (t) => {
  const bench = await startBench(t);
  for (const bytes of ["GET / HTTP/1.1\r\n\r\n", `SSH-2.0-${"x".repeat(300)}`, "SSH-1.5-old\r\n"]) {
    const socket = await bench.raw();
    socket.write(bytes);
    await once(socket.resume(), "close");
  }
  (await bench.raw()).resume().end();
  (await bench.raw()).resetAndDestroy();
  await until("all end", () => bench.closed.length === 5);
  assert.deepEqual(bench.closed.slice(0, 3), ["not-ssh", "not-ssh", "not-ssh"]);
  assert.equal(bench.lines.filter((line) => line.level !== "debug").length, 3);
});

test("garbage behind the identification ends the connection, and the server lives", async (t) => {
  const bench = await startBench(t);
  for (let i = 0; i < 20; i++) {
    const socket = await bench.raw();
    socket.write(Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), randomBytes(4_000)]));
    socket.resume();
  }
  await until("most end at once", () => bench.closed.length >= 15);
  (await logIn(t, bench.config)).end();
});

test("a flood before the login is cut off", async (t) => {
  const bench = await startBench(t);
  const socket = await bench.raw();
  // SSH_MSG_IGNORE, unencrypted: length, padding length, type, a string, padding.
  const payload = Buffer.concat([Buffer.from([2, 0, 0, 0x10, 0]), Buffer.alloc(4_096)]);
  const padding = 8 - ((5 + payload.length) % 8) + 8;
  const head = Buffer.alloc(5);
  head.writeUInt32BE(1 + payload.length + padding);
  head[4] = padding;
  const ignore = Buffer.concat([head, payload, Buffer.alloc(padding)]);
  socket.write("SSH-2.0-x\r\n");
  socket.resume();
  for (let i = 0; i < 64 && !socket.destroyed; i++) socket.write(ignore);
  await until("it ends", () => bench.closed.length === 1);
  assert.deepEqual(bench.closed, ["protocol"]);
});

test("shell, commands and scp hear why not; forwarding and other subsystems are refused", async (t) => {
  const bench = await startBench(t);
  const client = await logIn(t, bench.config);
  const run = (start: (done: (error: Error | undefined, channel: ClientChannel) => void) => void) =>
    new Promise<string>((resolve, reject) => {
      start((error, channel) => {
        if (error !== undefined) return reject(error);
        let text = "";
        channel.stderr.on("data", (data) => {
          text += String(data);
        });
        // The scp protocol has its errors in the stream itself.
        channel.on("data", (data: Buffer) => {
          text += data.toString("latin1");
        });
        channel.on("close", (code: unknown) => resolve(`${code} ${text.trim()}`));
      });
    });
  assert.equal(await run((done) => client.shell(done)), "1 This service offers SFTP only.");
  assert.equal(await run((done) => client.exec("ls /", done)), "1 This service offers SFTP only.");
  const scp = await run((done) => client.exec("scp -t /in", done));
  assert.ok(scp.startsWith("1 \u0002This service") && /use sftp, or scp without -O/.test(scp), scp);
  await assert.rejects(openSubsystem(client, "netconf"));
  await assert.rejects(run((done) => client.forwardOut("127.0.0.1", 1, "127.0.0.1", 22, done)));
  const forwarded = await new Promise((resolve) => client.forwardIn("127.0.0.1", 0, (error) => resolve(error)));
  assert.ok(forwarded instanceof Error);
});

test("channels are one after the other, or ten at a time, each with a session", async (t) => {
  const bench = await startBench(t);
  const client = await logIn(t, bench.config);
  for (let i = 0; i < 12; i++) {
    const channel = await openSubsystem(client);
    assert.ok(await echoes(channel, "one"));
    channel.end();
    await once(channel, "close");
  }
  await until("twelve sessions end", () => bench.sessions.ended === 12);
  const channels = await Promise.all(Array.from({ length: 10 }, () => openSubsystem(client)));
  await assert.rejects(openSubsystem(client));
  channels[3]?.end();
  await once(channels[3] as ClientChannel, "close");
  assert.ok(await echoes(channels[4] as ClientChannel, "the others go on"));
  assert.ok(await echoes(await openSubsystem(client), "and there is room again"));
  client.end();
  await until("the connection is gone", () => bench.server.connections() === 0);
  assert.equal(bench.sessions.ended, bench.sessions.opened);
});

test("keys are changed under load, many times, and no byte is lost", async (t) => {
  const bench = await startBench(t, {}, { rekeyBytes: 4 * 2 ** 20, upkeepMs: 10 });
  const client = await logIn(t, bench.config);
  let changes = 0;
  client.on("handshake", () => changes++);
  const channel = await openSubsystem(client);
  const sent = createHash("sha256");
  const received = createHash("sha256");
  let bytes = 0;
  const total = 64 * 2 ** 20;
  channel.on("data", (data: Buffer) => {
    received.update(data);
    bytes += data.length;
  });
  const block = randomBytes(2 ** 20);
  for (let at = 0; at < total; at += block.length) {
    block.writeUInt32BE(at, 0);
    sent.update(block);
    if (!channel.write(Buffer.from(block))) await once(channel, "drain");
  }
  await until("all comes back", () => bytes === total, { deadlineMs: 60_000 });
  assert.equal(received.digest("hex"), sent.digest("hex"));
  assert.ok(changes >= 3, `${changes} key exchanges`);
  client.end();
});

test("a client that stopped answering is given up after three keepalives; one that answers isn't", async (t) => {
  const bench = await startBench(t, { keepaliveMs: 200 });
  const alive = await logIn(t, bench.config);
  const sock = connect(bench.port, "127.0.0.1");
  await logIn(t, { ...bench.config, sock });
  sock.pause();
  await until("it is given up", () => bench.closed.length === 1, { deadlineMs: 4_000 });
  assert.deepEqual(bench.closed, ["keepalive"]);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.ok(await echoes(await openSubsystem(alive), "still here"));
});

test("an idle connection ends, one at work doesn't", { timeout: 30_000 }, async (t) => {
  const bench = await startBench(t, { idleTimeoutMs: 2_000 });
  const idle = await logIn(t, bench.config);
  let over = false;
  idle.once("close", () => {
    over = true;
  });
  const busy = await logIn(t, bench.config);
  const channel = await openSubsystem(busy);
  const workFrom = monotonicMs();
  while (!over || monotonicMs() - workFrom < 2_500) {
    assert.ok(await echoes(channel, "work"));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.deepEqual(bench.closed, ["idle"]);
});

test("new host keys count for the next connection; faulty ones leave the old in use", async (t) => {
  const bench = await startBench(t);
  const keyOf = async (): Promise<string> => {
    let fingerprint = "";
    const hostVerifier = (key: Buffer) => {
      fingerprint = createHash("sha256").update(key).digest("hex");
      return true;
    };
    (await logIn(t, { ...bench.config, hostVerifier })).end();
    return fingerprint;
  };
  const running = await logIn(t, bench.config);
  const before = await keyOf();
  assert.equal(await keyOf(), before);
  bench.change({ hostKeys: [await generateHostKey("ed25519")] });
  const after = await keyOf();
  assert.notEqual(after, before);
  bench.change({ hostKeys: ["no key"] });
  assert.equal(await keyOf(), after);
  assert.ok(bench.lines.some((line) => line.level === "error" && /host keys/.test(line.message)));
  assert.ok(await echoes(await openSubsystem(running), "still here"));
});

test("SHA-1 and CBC need the legacy switch, which counts from the next connection on", async (t) => {
  const bench = await startBench(t);
  const old = {
    ...bench.config,
    algorithms: {
      kex: ["diffie-hellman-group14-sha1" as const],
      serverHostKey: ["ssh-rsa" as const],
      cipher: ["aes128-cbc" as const],
      hmac: ["hmac-sha1" as const],
    },
  };
  const onlyHostKey = { ...bench.config, algorithms: { serverHostKey: ["ssh-rsa" as const] } };
  await assert.rejects(logIn(t, old));
  await assert.rejects(logIn(t, onlyHostKey), "ssh2 offers ssh-rsa for every RSA key; we don't take it");
  bench.change({ sftp: { legacyAlgorithms: true } });
  (await logIn(t, old)).end();
  (await logIn(t, onlyHostKey)).end();
  bench.change({ sftp: { legacyAlgorithms: false } });
  await assert.rejects(logIn(t, old));
});

test("a client that asks for SHA-1 RSA first and takes Ed25519 as well gets that", async (t) => {
  const bench = await startBench(t);
  const client = await logIn(t, {
    ...bench.config,
    algorithms: { serverHostKey: ["ssh-rsa" as const, "ecdsa-sha2-nistp256" as const, "ssh-ed25519" as const] },
  });
  const channel = await openSubsystem(client);
  assert.ok(await echoes(channel, "still here"));
  client.end();
});

test("a drain accepts nothing new and lets what runs go on to its end", async (t) => {
  const bench = await startBench(t);
  const client = await logIn(t, bench.config);
  const channel = await openSubsystem(client);
  let drained = false;
  const drain = bench.server.drain().then(() => {
    drained = true;
  });
  await assert.rejects(logIn(t, bench.config));
  assert.ok(await echoes(channel, "still here"));
  assert.equal(drained, false);
  client.end();
  await drain;
  assert.equal(bench.sessions.ended, bench.sessions.opened);
  await bench.server.drain();
});

test("a client that logs in or has just asked for something is busy, one that does nothing isn't", async (t) => {
  const bench = await startBench(t);
  assert.equal(bench.server.busy(1_000), false, "nobody is there");
  const silent = await bench.raw();
  await until("it is connected", () => bench.server.connections() === 1);
  assert.ok(bench.server.busy(0), "it may be about to log in");
  silent.destroy();
  await until("it is gone", () => bench.server.connections() === 0);
  const client = await logIn(t, bench.config);
  assert.ok(bench.server.busy(1_000), "it has logged in a moment ago");
  await until("it does nothing", () => !bench.server.busy(100));
  client.end();
});

test("close ends everything, also clients that don't react, and says why once", async (t) => {
  const bench: Bench = await startBench(t);
  const polite = await logIn(t, bench.config);
  const sock = connect(bench.port, "127.0.0.1");
  const deaf = await logIn(t, { ...bench.config, sock });
  await openSubsystem(deaf);
  sock.pause();
  const silent = await bench.raw();
  await until("three connections", () => bench.server.connections() === 3);
  const from = performance.now();
  await Promise.all([bench.server.close("the node stops"), bench.server.close("again"), once(polite, "close")]);
  assert.ok(performance.now() - from < 4_000);
  assert.equal(bench.server.connections(), 0);
  assert.equal(bench.sessions.ended, bench.sessions.opened);
  assert.deepEqual(bench.closed, ["server", "server", "server"]);
  assert.equal(endLine(bench)?.detail, "the node stops");
  silent.destroy();
});
