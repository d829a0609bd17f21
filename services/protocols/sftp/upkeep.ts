import type { SftpSettings } from "#config/schema.js";

/** RFC 4253, section 9: keys are changed after each gigabyte, and after each hour. */
export const REKEY_BYTES = 2 ** 30;
export const REKEY_MS = 3_600_000;
/** A client that doesn't finish a key exchange makes us queue every reply: it gets so long. */
export const REKEY_DEADLINE_MS = 60_000;
/** Keepalives that may go unanswered. */
export const KEEPALIVES = 3;
/**
 * Bytes for a client that doesn't read them. The subsystem keeps its replies far below; what could still grow are the
 * answers to requests of the connection itself.
 */
export const MAX_UNSENT_BYTES = 64 * 2 ** 20;

/** What is known of an authenticated connection at one moment. Times in monotonic milliseconds. */
export interface ConnectionFacts {
  readonly now: number;
  /** When bytes of the client were last seen. */
  readonly heardAt: number;
  /** Keepalives sent since then, and when the last one was. */
  readonly unanswered: number;
  readonly askedAt: number;
  /** We don't read from it at the moment (backpressure): its silence is ours. */
  readonly paused: boolean;
  /** Bytes both ways since the last key exchange, and its time. */
  readonly bytesSinceKeys: number;
  readonly keysAt: number;
  /** When the key exchange under way was started by us. */
  readonly rekeyingSince: number | undefined;
  /** The last request or moved byte. */
  readonly activeAt: number;
  /** A request is under way. */
  readonly working: boolean;
  /** Bytes written to the socket that the client hasn't taken. */
  readonly unsentBytes: number;
}

export type Upkeep =
  | { readonly act: "none" | "keepalive" | "rekey" }
  | { readonly act: "end"; readonly reason: "keepalive" | "idle" | "protocol"; readonly detail: string };

const NONE: Upkeep = { act: "none" };

/**
 * What a connection needs now; at most one thing, the next look comes a second later. Invariants: a connection whose
 * socket we paused is never ended for its silence, and no key exchange starts while one is under way.
 */
export function decideUpkeep(
  facts: ConnectionFacts,
  settings: Pick<SftpSettings, "idleTimeoutMs" | "keepaliveMs">,
  rekeyBytes: number = REKEY_BYTES,
): Upkeep {
  const { now } = facts;
  if (facts.unsentBytes > MAX_UNSENT_BYTES) {
    return { act: "end", reason: "protocol", detail: `it left ${facts.unsentBytes} bytes of replies unread` };
  }
  const { idleTimeoutMs, keepaliveMs } = settings;
  if (idleTimeoutMs > 0 && !facts.working && now - facts.activeAt >= idleTimeoutMs) {
    return { act: "end", reason: "idle", detail: `idle for ${Math.floor((now - facts.activeAt) / 1000)} s` };
  }
  if (facts.rekeyingSince !== undefined) {
    if (facts.paused || now - facts.rekeyingSince < REKEY_DEADLINE_MS) return NONE;
    return { act: "end", reason: "protocol", detail: `key exchange unfinished after ${REKEY_DEADLINE_MS / 1000} s` };
  }
  if (facts.bytesSinceKeys >= rekeyBytes || now - facts.keysAt >= REKEY_MS) return { act: "rekey" };
  if (keepaliveMs === 0 || facts.paused) return NONE;
  const since = facts.unanswered === 0 ? facts.heardAt : facts.askedAt;
  if (now - since < keepaliveMs) return NONE;
  if (facts.unanswered < KEEPALIVES) return { act: "keepalive" };
  return { act: "end", reason: "keepalive", detail: `${KEEPALIVES} keepalives unanswered` };
}
