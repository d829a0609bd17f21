import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { ClientChannel } from "ssh2";
import { PacketStream } from "./codec.js";
import { writeDataHeader } from "./encode.js";
import { Meter } from "./meter.js";
import { Status } from "./protocol.js";
import { RawChannel } from "./raw-channel.js";
import { Replies } from "./replies.js";
import { SlabReply, slabs } from "./slab.js";
import type { startSftpSubsystem } from "./subsystem.js";
import { logIn, startBench } from "./testing.js";

/** The outgoing side over real SSH: whatever the window, the cipher and key exchanges do, the stream stays whole. */

const ROUNDS = 24;
const SLAB_READ = 261_120;

/** Statuses, replies of all sizes and slabs, more than any window holds, at once. */
function sendAll(replies: Replies, raw: RawChannel | undefined): number {
  let id = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let count = 0; count < 50; count += 1) {
      replies.expect();
      replies.ok(id++);
    }
    for (const bytes of [100, 20_000, 33_000, 60_000]) {
      const reply = Buffer.alloc(13 + bytes, id & 0xff);
      writeDataHeader(reply, 0, id++, bytes);
      replies.expect();
      replies.reply(reply);
    }
    const shape = raw?.shape;
    const memory = shape === undefined ? undefined : slabs.take();
    if (shape !== undefined && memory !== undefined) {
      const requests = [0, 1, 2].map((index) => ({ id: id++, offset: index * SLAB_READ, length: SLAB_READ }));
      const slab = new SlabReply(memory, shape, 32_768, requests, () => {});
      let filler = requests[0]?.id ?? 0;
      let left = SLAB_READ;
      for (const view of slab.views) {
        view.fill(filler & 0xff);
        left -= view.length;
        if (left > 0) continue;
        left = SLAB_READ;
        filler += 1;
      }
      for (const _ of requests) replies.expect();
      replies.slab(slab, slab.filled(3 * SLAB_READ));
    }
  }
  return id;
}

const WAYS = [
  { cipher: "aes128-gcm@openssh.com", fast: true },
  { cipher: "chacha20-poly1305@openssh.com", fast: true },
  { cipher: "aes256-ctr", fast: true },
  { cipher: "aes128-gcm@openssh.com", fast: false },
] as const;

for (const { cipher, fast } of WAYS) {
  test(`${cipher}, ${fast ? "slabs" : "the public way"}: a client that reads in fits gets each reply once, whole`, {
    // A lost wake-up shows as silence.
    timeout: 30_000,
  }, async (t) => {
    let wanted = 0;
    let used: Replies | undefined;
    const startSubsystem: typeof startSftpSubsystem = ({ client, channel, socket, observer }) => {
      const raw = fast ? RawChannel.of(client, channel, socket) : undefined;
      assert.equal(raw !== undefined, fast);
      const replies = new Replies({ channel, socket, raw, meter: new Meter(observer), onProgress: () => {} });
      used = replies;
      channel.on("error", () => {});
      channel.resume();
      client.on("handshake", () => replies.wake());
      socket.on("drain", () => replies.wake());
      wanted = sendAll(replies, raw);
      // In the middle of it all: no channel data may go out between KEXINIT and NEWKEYS (RFC 4253, section 7.1).
      setImmediate(() => client.rekey());
      return { idle: true, lastActivity: 0, openHandles: 0, end: () => channel.close() };
    };
    const bench = await startBench(t, {}, { startSubsystem });
    const client = await logIn(t, { ...bench.config, algorithms: { cipher: [cipher] } });
    const rekeyed = once(client, "handshake");
    // Not flowing before somebody listens: the first replies are on their way already.
    const channel = await new Promise<ClientChannel>((resolve, reject) => {
      client.subsys("sftp", (error, opened) => (error === undefined ? resolve(opened) : reject(error)));
    });
    const stream = new PacketStream();
    const seen = new Set<number>();
    let fits = 0;
    let chunks = 0;
    await new Promise<void>((resolve, reject) => {
      channel.on("close", () => reject(new Error(`closed after ${seen.size} replies`)));
      channel.on("data", (chunk: Buffer) => {
        stream.push(chunk);
        for (let packet = stream.next(); packet !== undefined; packet = stream.next()) {
          assert.ok(!seen.has(packet.id), "no reply comes twice");
          seen.add(packet.id);
          if (packet.type === 101) assert.equal(packet.body.readUInt32BE(0), Status.OK);
          else {
            assert.equal(packet.type, 103);
            const data = packet.body.subarray(4);
            assert.equal(packet.body.readUInt32BE(0), data.length);
            assert.ok(data.equals(Buffer.alloc(data.length, packet.id & 0xff)), `reply ${packet.id} is as it was`);
          }
        }
        if (seen.size === wanted) resolve();
        chunks += 1;
        if (chunks % 30 !== 0) return;
        fits += 1;
        channel.pause();
        setTimeout(() => channel.resume(), 5);
      });
    });
    await rekeyed;
    assert.ok(fits > 0);
    assert.equal(used?.unanswered, 0);
    assert.equal(used?.done, true);
  });
}
