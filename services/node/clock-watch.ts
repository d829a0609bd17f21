import type { AuditSink } from "#audit/contract.js";
import { clockOffsetMs, isClockOff } from "#cluster/clocks.js";
import type { MembersView } from "#cluster/members.js";
import type { Logger } from "#lib/logger.js";

export interface ClockWatchOptions {
  readonly members: Pick<MembersView, "onChange">;
  readonly id: string;
  readonly name: string;
  readonly audit: Pick<AuditSink, "record">;
  readonly logger: Logger;
}

const MEND = "let each host keep its time by NTP (chrony, systemd-timesyncd)";

/**
 * Says once when this node's clock leaves the site's, and once when it is back. The record of it is what an auditor needs to
 * read this node's times: they are by its own clock. Returns how to stop.
 */
export function watchOwnClock({ members, id, name, audit, logger }: ClockWatchOptions): () => void {
  let off = false;
  return members.onChange((nodes) => {
    // Without a heartbeat of its own nothing is known of it: that isn't "back".
    if (!nodes.some((each) => each.id === id)) return;
    const offsetMs = clockOffsetMs(nodes, id);
    const isOff = isClockOff(offsetMs, off);
    if (isOff === off) return;
    off = isOff;
    const offsetSeconds = Math.round(offsetMs / 1_000);
    if (isOff)
      logger.error("this node's clock isn't the site's: decisions go by the others'", { offsetSeconds, mend: MEND });
    else logger.info("this node's clock is the site's again", { offsetSeconds });
    const outcome = isOff ? "failed" : "ok";
    audit.record({ kind: "state", what: "clock", outcome, who: name, details: { offsetSeconds } });
  });
}
