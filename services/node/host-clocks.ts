import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import type { Clocks } from "#config/kept.js";
import { monotonicMs } from "#lib/clock.js";

/** Both clocks of this host, now. */
export function clocksNow(): Clocks {
  return { wallMs: Date.now(), bootId: bootId(), uptimeMs: Math.round(uptime() * 1_000) };
}

/** What they were when `monotonicMs()` was `at`. */
export function clocksAt(at: number): Clocks {
  const sinceMs = monotonicMs() - at;
  const { wallMs, bootId: boot, uptimeMs } = clocksNow();
  return { wallMs: Math.round(wallMs - sinceMs), bootId: boot, uptimeMs: Math.round(uptimeMs - sinceMs) };
}

/** Where there is none, no two are the same: the wall clock decides then. */
let boot: string | undefined;
function bootId(): string {
  if (boot === undefined) {
    try {
      boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    } catch {
      boot = `unknown-${process.pid}-${Date.now()}`;
    }
  }
  return boot;
}
