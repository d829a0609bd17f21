import { generateKeyPairSync, randomBytes } from "node:crypto";
import { connect } from "node:net";
import type { Address } from "#balancer/template.js";
import { readField, writeField } from "./ssh-wire.js";

/**
 * Asks a site for its host keys as `ssh-keyscan` does, which a bare machine may not have: the first messages of a key
 * exchange (RFC 4253, RFC 8731) travel in the clear, and the server's reply to them holds its key.
 */
const HOST_KEY_KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"] as const;
type HostKeyKind = (typeof HOST_KEY_KINDS)[number];

const TRY_MS = 5_000;
const SSH_MSG_KEXINIT = 20;
const SSH_MSG_KEX_ECDH_INIT = 30;
const SSH_MSG_KEX_ECDH_REPLY = 31;
/** RFC 4253 lets a packet be so long; a longer one isn't SSH. */
const MAX_PACKET_BYTES = 35_000;

const CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr";
const MACS = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";

/** The public keys (as blobs) that the server has, one of each kind. */
export async function fetchHostKeys(address: Address): Promise<Buffer[]> {
  const keys = await Promise.all(HOST_KEY_KINDS.map((kind) => fetchHostKey(address, kind)));
  return keys.filter((key) => key !== undefined);
}

/** Undefined where the server has no key of that kind, or doesn't answer. */
function fetchHostKey({ host, port }: Address, kind: HostKeyKind): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (key?: Buffer) => {
      socket.destroy();
      resolve(key);
    };
    socket.setTimeout(TRY_MS, () => finish());
    socket.on("error", () => finish());
    socket.on("close", () => finish());
    socket.write(Buffer.concat([Buffer.from("SSH-2.0-longshore_keyscan\r\n"), packet(keyExchangeInit(kind))]));
    let received: Buffer = Buffer.alloc(0);
    let greeted = false;
    socket.on("data", (data: Buffer) => {
      received = Buffer.concat([received, data]);
      if (!greeted) {
        const end = received.indexOf("\n");
        if (end < 0) return;
        greeted = true;
        received = received.subarray(end + 1);
      }
      for (;;) {
        const next = takePacket(received);
        if (next === undefined) return;
        if (next === "nonsense") return finish();
        received = next.rest;
        const type = next.payload[0];
        // What we send next would be lost in a guessed first packet of the server, so we wait for its choice of methods.
        if (type === SSH_MSG_KEXINIT) socket.write(packet(ellipticInit()));
        else if (type === SSH_MSG_KEX_ECDH_REPLY) return finish(readField(next.payload, 1)?.value);
        else return finish();
      }
    });
  });
}

function keyExchangeInit(kind: HostKeyKind): Buffer {
  const lists = ["curve25519-sha256", kind, CIPHERS, CIPHERS, MACS, MACS, "none", "none", "", ""];
  return Buffer.concat([
    Buffer.from([SSH_MSG_KEXINIT]),
    randomBytes(16),
    ...lists.map((list) => writeField(list)),
    // No guessed packet follows; then four reserved bytes.
    Buffer.alloc(5),
  ]);
}

/** A public key of our own for the exchange; we never finish it. */
function ellipticInit(): Buffer {
  const { x = "" } = generateKeyPairSync("x25519").publicKey.export({ format: "jwk" });
  return Buffer.concat([Buffer.from([SSH_MSG_KEX_ECDH_INIT]), writeField(Buffer.from(x, "base64url"))]);
}

/** An unencrypted packet: padded by at least four bytes to a multiple of eight (RFC 4253, section 6). */
function packet(payload: Buffer): Buffer {
  const padding = 4 + ((8 - ((payload.length + 9) % 8)) % 8);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(payload.length + padding + 1);
  head[4] = padding;
  return Buffer.concat([head, payload, Buffer.alloc(padding)]);
}

/** The first packet of what was received; undefined where it isn't all there yet. */
function takePacket(received: Buffer): { payload: Buffer; rest: Buffer } | "nonsense" | undefined {
  if (received.length < 5) return undefined;
  const length = received.readUInt32BE(0);
  const padding = received.readUInt8(4);
  if (length > MAX_PACKET_BYTES || length < padding + 2) return "nonsense";
  if (received.length < 4 + length) return undefined;
  return { payload: received.subarray(5, 4 + length - padding), rest: received.subarray(4 + length) };
}
