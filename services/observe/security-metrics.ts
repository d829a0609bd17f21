import { Counter, Gauge, type Registry } from "prom-client";

/** Of the protection against guessing; labels come from closed sets. */
export interface SecurityMetrics {
  attach(gauges: { readonly bans: () => number; readonly lockouts: () => number }): void;
  loginRefused(reason: string): void;
  loginThrottled(): void;
  imposed(what: "ban" | "lockout"): void;
  countersFlushed(bytes: number): void;
  sessionEnded(reason: string): void;
  sessionLimitReached(): void;
}

export function createSecurityMetrics(registers: Registry[], refusals: readonly string[]): SecurityMetrics {
  let gauges: Parameters<SecurityMetrics["attach"]>[0] | undefined;
  const live = (name: string, help: string, read: () => number | undefined) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });

  live("longshore_bans", "Bans in force, as this node knows them.", () => gauges?.bans());
  live("longshore_lockouts", "Lockouts in force, as this node knows them.", () => gauges?.lockouts());
  const refused = counter("longshore_logins_refused_total", "Login attempts refused.", ["reason"]);
  const throttled = counter("longshore_logins_throttled_total", "Login checks that waited first.");
  const imposed = counter("longshore_security_measures_total", "Bans and lockouts decided by this node.", ["measure"]);
  const flushes = counter("longshore_security_flushes_total", "Writes of this node's counters of failed logins.");
  const bytes = counter("longshore_security_flush_bytes_total", "Bytes of those writes.");
  const ended = counter("longshore_sessions_ended_total", "Sessions ended from outside.", ["reason"]);
  const limits = counter("longshore_session_limits_total", "Logins refused because of maxSessions.");
  for (const reason of refusals) refused.inc({ reason }, 0);
  for (const measure of ["ban", "lockout"]) imposed.inc({ measure }, 0);
  for (const reason of ["banned", "revoked", "killed"]) ended.inc({ reason }, 0);

  return {
    attach(more) {
      gauges = more;
    },
    loginRefused: (reason) => refused.inc({ reason }),
    loginThrottled: () => throttled.inc(),
    imposed: (measure) => imposed.inc({ measure }),
    countersFlushed(count) {
      flushes.inc();
      bytes.inc(count);
    },
    sessionEnded: (reason) => ended.inc({ reason }),
    sessionLimitReached: () => limits.inc(),
  };
}
