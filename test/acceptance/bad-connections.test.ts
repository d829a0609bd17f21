import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { Client } from "ssh2";
import { until } from "#lib/testing.js";
import { Bystander } from "../support/clients/bystander.js";
import { bytes } from "../support/clients/content.js";
import { dial, drain, PROXY_SIGNATURE, proxyHeader } from "../support/clients/dial.js";
import { changeSite, ExtraNode, residentBytes } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import { within } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";

/** What comes before a login, and isn't one. A partner works beside it and notices nothing. */

const MIB = 1024 * 1024;
const GRACE_MS = 2_000;
/** A closed connection must be seen that fast: the 3 s for a PROXY header or the grace, and a busy machine. */
const CLOSED_MS = 12_000;

describe("bad connections", () => {
  let site: Site;
  let partner: Partner;
  let bystander: Bystander;
  const header = (source = "203.0.113.9") => proxyHeader({ source });

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "calm");
    await changeSite(site, (settings) => {
      settings.sftp = { ...(settings.sftp as object), loginGraceMs: GRACE_MS };
    });
    bystander = await Bystander.start(partner, 0);
  });
  after(async () => {
    try {
      await bystander?.stop();
    } finally {
      await site?.stop();
    }
  });

  const connect = (options: { localAddress?: string; port?: number } = {}) =>
    dial({ host: "127.0.0.1", port: options.port ?? site.node(0).sftpPort, ...options });

  /** The node must close by itself, and must not have taken it for SSH. */
  async function closes(socket: Socket, what: string): Promise<Buffer> {
    const { received, closedByPeer } = await drain(socket, CLOSED_MS);
    assert.ok(closedByPeer, `${what}: still open after ${CLOSED_MS} ms`);
    return received;
  }

  async function isRefused(data: Buffer, what: string, options = {}): Promise<void> {
    const socket = await connect(options);
    socket.write(data);
    const received = await closes(socket, what);
    assert.ok(!received.includes("SSH-2.0"), `${what}: a banner was sent`);
  }

  const GARBAGE: Readonly<Record<string, Buffer>> = {
    "random bytes": bytes(4_096, "garbage"),
    "an HTTP request": Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a TLS hello": Buffer.from(`1603010200010001fc0303${"ab".repeat(200)}`, "hex"),
    zeros: Buffer.alloc(4_096),
    "a line without an end": Buffer.alloc(MIB, "a"),
    "SSH version 1": Buffer.from("SSH-1.5-old\r\n"),
    "a banner and then random bytes": Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), bytes(100_000, "after")]),
    "a banner and a packet that lies about its length": Buffer.concat([
      Buffer.from("SSH-2.0-x\r\n"),
      Buffer.from("ffffffff0414", "hex"),
      Buffer.alloc(200),
    ]),
  };
  for (const [what, data] of Object.entries(GARBAGE)) {
    test(`${what} instead of a login ends in a closed connection`, async () => {
      await bystander.undisturbed(async () => {
        const socket = await connect();
        socket.write(Buffer.concat([header(), data]));
        await closes(socket, what);
        const through = await connect({ port: site.endpoints().sftp.port });
        through.write(data);
        await closes(through, `${what}, through the balancer`);
      });
    });
  }

  test("a PROXY header that was cut at any place ends in a closed connection without a banner", async () => {
    await bystander.undisturbed(async () => {
      const whole = header();
      const cuts = Array.from({ length: whole.length }, (_, i) => i);
      await Promise.all(
        cuts.map(async (cut) => {
          const socket = await connect();
          socket.write(whole.subarray(0, cut));
          // Half of them hang up there, half wait for the deadline.
          if (cut % 2 === 0) socket.end();
          const received = await closes(socket, `cut at ${cut}`);
          assert.equal(received.length, 0, `cut at ${cut}: ${received.length} bytes came`);
        }),
      );
    });
  });

  test("a PROXY header that comes byte by byte is read", async () => {
    const socket = await connect();
    for (const byte of header()) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const banner = await within(5_000, "a banner", new Promise<Buffer>((resolve) => socket.once("data", resolve)));
    assert.match(banner.toString("latin1"), /^SSH-2\.0-/);
    socket.destroy();
  });

  test("PROXY headers that are oversized, malformed, of version 1 or absent are refused", async () => {
    const change = (at: number, value: number) => {
      const copy = Buffer.from(header());
      copy[at] = value;
      return copy;
    };
    const oversized = Buffer.concat([PROXY_SIGNATURE, Buffer.from([0x21, 0x11, 0xff, 0xff]), Buffer.alloc(70_000)]);
    const short = Buffer.concat([PROXY_SIGNATURE, Buffer.from([0x21, 0x11, 0, 4]), Buffer.alloc(4)]);
    await bystander.undisturbed(async () => {
      await isRefused(oversized, "65,535 bytes of header");
      await isRefused(short, "an IPv4 address block of 4 bytes");
      await isRefused(change(0, 0x0e), "a wrong signature");
      await isRefused(change(12, 0x31), "version 3");
      await isRefused(change(12, 0x2f), "an unknown command");
      await isRefused(change(13, 0x00), "no address family");
      await isRefused(change(13, 0x31), "a unix address");
      await isRefused(Buffer.from("PROXY TCP4 203.0.113.9 127.0.0.1 40000 22\r\n"), "version 1");
      await isRefused(Buffer.from("SSH-2.0-nobody\r\n"), "no header at all");
    });
  });

  test("a PROXY header with trailing extensions is taken, and the address in it counts", async () => {
    const socket = await connect();
    const tlv = Buffer.concat([Buffer.from([0x04, 0x00, 0x40]), Buffer.alloc(0x40)]);
    socket.write(proxyHeader({ source: "2001:db8::7" }, tlv));
    const banner = await within(5_000, "a banner", new Promise<Buffer>((resolve) => socket.once("data", resolve)));
    assert.match(banner.toString("latin1"), /^SSH-2\.0-/);
    socket.destroy();
  });

  test("a PROXY header from an address that isn't a balancer's is refused", async () => {
    const picky = await ExtraNode.start(site, { settings: { balancers: ["127.0.0.9/32"] } });
    try {
      await isRefused(header(), "a header from 127.0.0.1", { port: picky.sftpPort });
      const trusted = await connect({ port: picky.sftpPort, localAddress: "127.0.0.9" });
      trusted.write(header());
      const banner = await within(5_000, "a banner", new Promise<Buffer>((resolve) => trusted.once("data", resolve)));
      assert.match(banner.toString("latin1"), /^SSH-2\.0-/);
      trusted.destroy();
    } finally {
      await picky.kill();
    }
  });

  test("a login that never finishes is ended after the grace: silence, and a key exchange without a login", async () => {
    await bystander.undisturbed(async () => {
      const silent = await connect();
      silent.write(header());
      const mute = await connect();
      mute.write(header());
      const client = new Client();
      client.on("error", () => undefined);
      client.connect({ sock: mute, username: partner.name, readyTimeout: 0, authHandler: () => undefined });
      await Promise.all([
        closes(silent, "silence after the header"),
        within(
          CLOSED_MS,
          "the mute client is put out",
          new Promise<void>((resolve) => client.once("close", () => resolve())),
        ),
      ]);
    });
  });

  test("a client that tries passwords is put out after a few, and never told which part was wrong", async () => {
    await bystander.undisturbed(async () => {
      const socket = await connect();
      socket.write(header("203.0.113.77"));
      const client = new Client();
      let tries = 0;
      client.on("error", () => undefined);
      client.connect({
        sock: socket,
        username: partner.name,
        readyTimeout: 0,
        authHandler: (_left, _partial, next) => {
          tries++;
          next({ type: "password", username: partner.name, password: `wrong-${tries}` });
        },
      });
      await within(
        30_000,
        "the guesser is put out",
        new Promise<void>((resolve) => client.once("close", () => resolve())),
      );
      assert.ok(tries >= 2 && tries <= 20, `${tries} tries were allowed`);
    });
  });

  test("2,000 connections without a login from one address: few are held, memory stays, others log in", async () => {
    const { pid } = site.node(0);
    assert.ok(pid !== null);
    const before = residentBytes(pid);
    await bystander.undisturbed(async () => {
      const sockets: Socket[] = [];
      for (let batch = 0; batch < 20; batch++) {
        const some = await Promise.all(Array.from({ length: 100 }, () => connect()));
        for (const socket of some) socket.write(header("203.0.113.200"));
        sockets.push(...some);
      }
      for (const socket of sockets) socket.resume();
      await until("most of them were refused", () => sockets.filter(({ closed }) => closed).length >= 1_800);
      const other = await partner.rawOn(0, { source: "198.51.100.50" });
      await other.stat("/");
      await other.end();
      assert.ok(residentBytes(pid) - before < 150 * MIB, `grew by ${(residentBytes(pid) - before) / MIB} MiB`);
      await until("the rest is put out by the grace", () => sockets.every(({ closed }) => closed));
    });
    const again = await partner.rawOn(0, { source: "203.0.113.200" });
    await again.end();
  });

  test("2,000 connections without a login through the balancer, each from its own address as far as nodes can tell", async () => {
    await bystander.undisturbed(async () => {
      const sockets: Socket[] = [];
      for (let i = 0; i < 2_000; i += 100) {
        const some = await Promise.all(Array.from({ length: 100 }, () => connect()));
        for (const [k, socket] of some.entries()) socket.write(header(`10.1.${(i + k) >> 8}.${(i + k) & 255}`));
        sockets.push(...some);
      }
      for (const socket of sockets) socket.resume();
      // The limit on all of them together holds for this node; partners of the other nodes notice nothing.
      const other = await partner.rawOn(1, { source: "198.51.100.51" });
      await other.put("/beside", bytes(100_000));
      await other.end();
      await until("all are put out", () => sockets.every(({ closed }) => closed), { deadlineMs: 20_000 });
    });
    await (await partner.rawOn(0)).end();
  });

  test("the log tells of refused connections, with the node's name and the client's address, in bounded number", async () => {
    const { logFile, name } = site.node(0);
    const lines = readFileSync(logFile, "utf8").trim().split("\n");
    const refused = lines.filter((line) => line.includes('"reason"'));
    assert.ok(refused.length > 0, "no refusal is in the log");
    // More than 4,000 connections were refused above.
    assert.ok(lines.length < 2_000, `${lines.length} lines`);
    for (const line of refused) {
      // `peer` where the client's own address isn't known, for want of a PROXY header.
      const entry = JSON.parse(line) as { node?: string; client?: string; peer?: string };
      assert.equal(entry.node, name);
      assert.ok(entry.client ?? entry.peer, line);
    }
  });
});
