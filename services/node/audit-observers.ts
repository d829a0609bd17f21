import type { AuditEntry, AuditSink } from "#audit/contract.js";
import type { CommitJournal } from "#commit/contract.js";
import type { CommittedRecord } from "#commit/records.js";
import { asLongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { ConnectionObserver } from "#protocols/observer.js";
import type { RefusedOperation } from "#sessions/refused.js";
import type { Direction, EndedTransfer, TransferEnd } from "#sessions/transfer-log.js";

/** What the parts of a node tell, as audit records. */

/** Logins and ends of connections, for `ConnectionObserver`. */
export function loginRecords(
  audit: AuditSink,
  onLogin: (account: string) => void,
): Required<Pick<ConnectionObserver, "loggedIn" | "loginRefused" | "loggedOut">> {
  return {
    loggedIn({ account, address, method, session }) {
      audit.record({ kind: "login", what: method, outcome: "ok", who: account, client: address, session });
      onLogin(account);
    },
    loginRefused: ({ account, address, method, reason }) =>
      audit.record({
        kind: "login-refused",
        what: method,
        outcome: "refused",
        who: account,
        client: address,
        details: { reason },
      }),
    loggedOut: ({ account, address, session, reason, detail, seconds, bytesIn, bytesOut }) =>
      audit.record({
        kind: "logout",
        what: reason,
        outcome: "ok",
        who: account,
        client: address,
        session,
        details: { detail, seconds, bytesIn, bytesOut },
      }),
  };
}

/** Bans and lockouts that this node decided on; those that administrators impose are on the record as their changes. */
export function banRecords(
  audit: AuditSink,
  count: (what: "ban" | "lockout") => void,
): (what: "ban" | "lockout", subject: string, measure: Readonly<Record<string, unknown>>) => void {
  return (what, subject, measure) => {
    count(what);
    const whom = what === "ban" ? { client: subject } : { who: subject };
    audit.record({ kind: "ban", what, outcome: "ok", ...whom, details: { ...measure } });
  };
}

/**
 * The record of a transfer's end. Undefined for a complete upload: that is on the record by whoever finishes its commit
 * (commitJournal), this node or another, once.
 */
export function transferRecord(
  direction: Direction,
  end: TransferEnd,
  transfer: EndedTransfer,
): AuditEntry | undefined {
  if (direction === "upload" && end === "complete") return undefined;
  const { id, actor, path, bytes, seconds, details } = transfer;
  return {
    kind: "transfer",
    what: direction,
    outcome: end,
    who: actor.account,
    client: actor.address,
    path,
    bytes,
    session: actor.session,
    transfer: id,
    details: { protocol: actor.protocol, seconds, ...details },
  };
}

/** A file operation that was not allowed. The node's audit keeps few of one address each, and counts the others. */
export function refusalRecord({ operation, actor, code, error }: RefusedOperation): AuditEntry {
  return {
    kind: "file",
    what: operation,
    outcome: "refused",
    who: actor.account,
    client: actor.address,
    path: actor.path,
    ...(actor.target === undefined ? {} : { target: actor.target }),
    session: actor.session,
    details: { protocol: actor.protocol, code, error },
  };
}

const WORDS = { remove: "delete", rename: "rename", mkdir: "mkdir", rmdir: "rmdir", link: "link" } as const;

/** The record of a change to the storage. `finisher`: the node that puts it on the record. Pure. */
export function changeRecord(op: string, record: CommittedRecord, finisher: string): AuditEntry {
  const { actor, effect, node, at, size } = record;
  const who = { who: actor.account, client: actor.address, session: actor.session, op };
  const stored = "from" in effect ? { stored: effect.from, storedAs: effect.path } : { stored: effect.path };
  const details = {
    protocol: actor.protocol,
    ...stored,
    committed: new Date(at).toISOString(),
    ...(node === finisher ? {} : { committedBy: node }),
  };
  // of a node that didn't say yet how the client named it, there is the place on the storage
  const path = actor.path ?? `/${"from" in effect ? effect.from : effect.path}`;
  if (effect.kind === "upload") {
    return {
      kind: "transfer",
      what: "upload",
      outcome: "complete",
      ...who,
      path,
      bytes: size,
      transfer: actor.transfer,
      details,
    };
  }
  const target = "from" in effect ? { target: actor.target ?? `/${effect.path}` } : {};
  return { kind: "file", what: WORDS[effect.kind], outcome: "ok", ...who, path, ...target, details };
}

/**
 * Finishing waits for the record at most so long. A name is claimed until then: past it a partner's next change of the
 * same name would wait, too. The record itself stays in line, and is written when the disk takes it.
 */
const FINISH_MS = 5_000;

export function commitJournal(audit: AuditSink, node: string, logger: Logger): CommitJournal {
  return {
    async record(changes) {
      const entries = changes.map(({ id, record }) => changeRecord(id, record, node));
      const written = entries.map((entry) => audit.recordDurably(entry, FINISH_MS));
      for (const outcome of await Promise.allSettled(written)) {
        if (outcome.status === "fulfilled") continue;
        const { message } = asLongshoreError(outcome.reason, "failed");
        logger.error("a commit is finished before its audit record is durable", { reason: message });
      }
    },
  };
}
