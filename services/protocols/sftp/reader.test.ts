import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientChannel } from "ssh2";
import type { FileHandle } from "#sessions/contract.js";
import { PacketStream } from "./codec.js";
import { OpenFile } from "./handles.js";
import { Meter } from "./meter.js";
import { RawChannel } from "./raw-channel.js";
import { Reader } from "./reader.js";
import { Replies } from "./replies.js";
import type { startSftpSubsystem } from "./subsystem.js";
import { logIn, startBench } from "./testing.js";

/** READs over real SSH from a storage that ends its reads in any order and gives less than it was asked for. */

const REQUEST = 32_768;
const REQUESTS = 200;
const SIZE = REQUESTS * REQUEST - 1_000;

const byteAt = (offset: number) => (offset * 31 + (offset >> 12)) & 0xff;

/** Holds reads back, and ends those under way from the last to the first; each fifth one falls short. */
class BackwardsFile {
  readonly #held: (() => void)[] = [];
  #asked = 0;

  readonly read: FileHandle["read"] = (offset, views, done) => {
    this.#asked += 1;
    const wanted = views.reduce((sum, view) => sum + view.length, 0);
    const whole = Math.max(0, Math.min(wanted, SIZE - offset));
    const given = this.#asked % 5 === 0 ? Math.ceil(whole / 2) : whole;
    let at = offset;
    for (const view of views) for (let index = 0; index < view.length; index += 1) view[index] = byteAt(at++);
    if (this.#held.length === 0) setImmediate(() => this.#endAll());
    this.#held.push(() => done(undefined, given));
  };

  #endAll(): void {
    for (const end of this.#held.splice(0).reverse()) end();
  }
}

for (const fast of [true, false]) {
  test(`${fast ? "slabs" : "the public way"}: READs are answered in the order in which they came, each with its bytes`, {
    // A READ that is never answered shows as silence.
    timeout: 30_000,
  }, async (t) => {
    const open = new OpenFile("/f", new BackwardsFile() as unknown as FileHandle);
    let reader: Reader | undefined;
    let replies: Replies | undefined;
    const startSubsystem: typeof startSftpSubsystem = ({ client, channel, socket, observer }) => {
      const raw = fast ? RawChannel.of(client, channel, socket) : undefined;
      const used = new Replies({ channel, socket, raw, meter: new Meter(observer), onProgress: () => reader?.pump() });
      replies = used;
      const reading = new Reader(used, raw);
      reader = reading;
      channel.on("error", () => {});
      channel.resume();
      socket.on("drain", () => used.wake());
      for (let id = 0; id < REQUESTS + 2; id += 1) {
        used.expect();
        reading.add(open, { id, offset: id * REQUEST, length: REQUEST });
        // As they come over a network: some alone, some together.
        if (id % 3 === 0) reading.pump();
      }
      reading.pump();
      return { idle: true, lastActivity: 0, openHandles: 0, end: () => channel.close() };
    };
    const bench = await startBench(t, {}, { startSubsystem });
    const client = await logIn(t, { ...bench.config, algorithms: { cipher: ["aes128-gcm@openssh.com"] } });
    const channel = await new Promise<ClientChannel>((resolve, reject) => {
      client.subsys("sftp", (error, opened) => (error === undefined ? resolve(opened) : reject(error)));
    });
    const stream = new PacketStream();
    const order: number[] = [];
    await new Promise<void>((resolve, reject) => {
      channel.on("close", () => reject(new Error(`closed after ${order.length} replies`)));
      channel.on("data", (chunk: Buffer) => {
        stream.push(chunk);
        for (let packet = stream.next(); packet !== undefined; packet = stream.next()) {
          order.push(packet.id);
          if (packet.id * REQUEST >= SIZE) {
            assert.equal(packet.type, 101, "the end of the file");
            continue;
          }
          assert.equal(packet.type, 103);
          const data = packet.body.subarray(4);
          assert.ok(data.length > 0 && data.length <= REQUEST);
          const first = packet.id * REQUEST;
          assert.ok(
            data.every((byte, index) => byte === byteAt(first + index)),
            `the bytes of READ ${packet.id}`,
          );
        }
        if (order.length === REQUESTS + 2) resolve();
      });
    });
    assert.deepEqual(
      order,
      Array.from({ length: REQUESTS + 2 }, (_, id) => id),
    );
    assert.equal(replies?.unanswered, 0);
    assert.equal(open.early.size, 0);
    assert.equal(open.readsLeft, false);
  });
}
