import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import type { Logger } from "#lib/logger.js";
import { until } from "#lib/testing.js";
import { createListener, type Listener, type ListenerOptions } from "./listener.js";
import type { Endpoint } from "./proxy-header.js";

interface Arrival {
  readonly socket: Socket;
  readonly client: Endpoint;
  readonly release: () => void;
}

interface Bench {
  readonly port: number;
  readonly listener: Listener;
  readonly arrivals: Arrival[];
  readonly lines: string[];
  readonly refusals: string[];
  /** Connects and sends; the socket is destroyed after the test. */
  send(bytes?: Buffer): Promise<Socket>;
}

async function bench(t: TestContext, options: Partial<ListenerOptions> = {}): Promise<Bench> {
  const arrivals: Arrival[] = [];
  const lines: string[] = [];
  const refusals: string[] = [];
  const say = (message: string) => lines.push(message);
  const logger: Logger = { debug() {}, info: say, warn: say, error: say, child: () => logger };
  const listener = createListener({
    host: "127.0.0.1",
    port: 0,
    limits: () => ({ maxUnauthenticated: 100, maxUnauthenticatedPerAddress: 100 }),
    onConnection: (socket, client, release) => arrivals.push({ socket, client, release }),
    logger,
    observer: {
      connectionOpened() {},
      connectionRefused: (reason) => refusals.push(reason),
      connectionClosed() {},
      login() {},
    },
    ...options,
  });
  const { port } = await listener.listen();
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of [...sockets, ...arrivals.map((arrival) => arrival.socket)]) socket.destroy();
    await listener.close();
  });
  return {
    port,
    listener,
    arrivals,
    lines,
    refusals,
    async send(bytes) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
      if (bytes !== undefined) socket.write(bytes);
      return socket;
    },
  };
}

const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const LOCAL = Buffer.concat([SIGNATURE, Buffer.from("20000000", "hex")]);

function proxied(address: string, port = 50_000): Buffer {
  const body = Buffer.alloc(12);
  Buffer.from(address.split(".").map(Number)).copy(body);
  Buffer.from([127, 0, 0, 1]).copy(body, 4);
  body.writeUInt16BE(port, 8);
  return Buffer.concat([SIGNATURE, Buffer.from("2111000c", "hex"), body]);
}

test("without balancers the peer is the client, and its first bytes wait for the reader", async (t) => {
  const { arrivals, send } = await bench(t);
  await send(Buffer.from("SSH-2.0-x\r\n"));
  await until("the connection arrives", () => arrivals.length === 1);
  const [arrival] = arrivals;
  assert.equal(arrival?.client.address, "127.0.0.1");
  assert.ok(arrival?.socket.isPaused());
  const [data] = await once(arrival.socket.resume(), "data");
  assert.equal(String(data), "SSH-2.0-x\r\n");
});

test("behind a balancer the client's own address counts, and no byte behind the header is lost", async (t) => {
  const { arrivals, send } = await bench(t, { balancers: ["127.0.0.0/8"] });
  const whole = Buffer.concat([proxied("192.0.2.7", 1234), Buffer.from("SSH-2.0-x\r\n")]);
  const socket = await send();
  socket.setNoDelay(true);
  for (const byte of whole.subarray(0, 20)) {
    socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.write(whole.subarray(20));
  await until("the connection arrives", () => arrivals.length === 1);
  const [arrival] = arrivals;
  assert.deepEqual(arrival?.client, { address: "192.0.2.7", port: 1234 });
  const [data] = await once(arrival?.socket.resume() as Socket, "data");
  assert.equal(String(data), "SSH-2.0-x\r\n");
});

test("a stranger, a missing header and one without an address are closed with a line each", async (t) => {
  const strange = await bench(t, { balancers: ["10.0.0.0/8"] });
  await once((await strange.send(proxied("192.0.2.7"))).resume(), "close");
  assert.deepEqual(strange.refusals, ["untrusted"]);
  assert.match(String(strange.lines), /none of the balancers/);

  const { send, lines, refusals, arrivals } = await bench(t, { balancers: ["127.0.0.1"] });
  await once((await send(Buffer.from("SSH-2.0-x\r\n"))).resume(), "close");
  await once((await send(Buffer.concat([SIGNATURE, Buffer.from("21000000", "hex")]))).resume(), "close");
  assert.deepEqual(refusals, ["proxy-header", "proxy-header"]);
  assert.match(String(lines[0]), /send-proxy-v2/);
  assert.match(String(lines[1]), /without a client address/);
  assert.equal(arrivals.length, 0);
});

test("a header that doesn't come in time ends the connection", async (t) => {
  const { send, refusals, lines } = await bench(t, { balancers: ["127.0.0.1"], deadlineMs: 100 });
  const from = performance.now();
  await once((await send(proxied("192.0.2.7").subarray(0, 20))).resume(), "close");
  assert.ok(performance.now() - from < 1_000);
  assert.deepEqual(refusals, ["proxy-deadline"]);
  assert.match(String(lines), /within 100 ms/);
});

test("health checks are silent: a bare connection, LOCAL and a hang-up, LOCAL that waits", async (t) => {
  const { send, lines, arrivals, listener } = await bench(t, { balancers: ["127.0.0.1"], deadlineMs: 100 });
  (await send()).destroy();
  (await send(LOCAL)).end();
  await once((await send(LOCAL)).resume(), "close");
  await once((await send()).resume(), "close");
  assert.deepEqual(lines, []);
  assert.equal(arrivals.length, 0);
  assert.equal(listener.unauthenticated, 0);
});

test("a health check may be answered", async (t) => {
  const { send } = await bench(t, { balancers: ["127.0.0.1"], onHealthCheck: (socket) => socket.end("SSH-2.0-y\r\n") });
  const [data] = await once(await send(LOCAL), "data");
  assert.equal(String(data), "SSH-2.0-y\r\n");
});

test("the limits count clients, not the balancer, change while running, and places come back", async (t) => {
  const limits = { maxUnauthenticated: 3, maxUnauthenticatedPerAddress: 1 };
  const { send, arrivals, refusals, listener } = await bench(t, { balancers: ["127.0.0.1"], limits: () => limits });
  await send(proxied("192.0.2.1"));
  await send(proxied("192.0.2.2"));
  await until("two clients of one balancer arrive", () => arrivals.length === 2);
  await once((await send(proxied("192.0.2.1"))).resume(), "close");
  assert.deepEqual(refusals, ["limit-address"]);

  limits.maxUnauthenticatedPerAddress = 2;
  await send(proxied("192.0.2.1"));
  await until("the raised limit counts at once", () => arrivals.length === 3);
  await once((await send(proxied("192.0.2.9"))).resume(), "close");
  assert.deepEqual(refusals, ["limit-address", "limit-total"]);

  arrivals[0]?.release();
  arrivals[0]?.release();
  assert.equal(listener.unauthenticated, 2);
  arrivals[1]?.socket.destroy();
  await until("a closed connection gives its place back", () => listener.unauthenticated === 1);
  arrivals[0]?.socket.destroy();
  await send(proxied("192.0.2.9"));
  await until("there is room again", () => arrivals.length === 4);
  assert.equal(listener.unauthenticated, 2);
});

test("close stops accepting, may be repeated, and leaves what was accepted", async (t) => {
  const { listener, send, arrivals } = await bench(t);
  await send(Buffer.from("x"));
  await until("the connection arrives", () => arrivals.length === 1);
  await listener.close();
  await listener.close();
  const refused = await send().then(
    () => false,
    () => true,
  );
  assert.ok(refused);
  const [data] = await once(arrivals[0]?.socket.resume() as Socket, "data");
  assert.equal(String(data), "x");
});

test("an address in use is an error of listen", async (t) => {
  const { port } = await bench(t);
  await assert.rejects(bench(t, { port }), /EADDRINUSE/);
});
