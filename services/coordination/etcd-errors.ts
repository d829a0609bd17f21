import { type ServiceError, status as Status } from "@grpc/grpc-js";
import { LongshoreError } from "#lib/errors.js";
import { LeaseGoneError, OutcomeUnknownError, StoreUnavailableError } from "./errors.js";

/**
 * What an etcd error says about a transaction: certainly nothing happened, or nobody knows. Read from etcd 3.4.23 and
 * 3.5.16 (v3_server.go, apply.go, v3rpc/), whose texts are stable; whatever isn't listed counts as unknown.
 *
 * Two that look certain and aren't: "request timed out" in all its forms (the proposal may still be committed), and
 * "database space exceeded" (the applier on the quota applies the transaction and then returns this error).
 */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  // The interceptors, before anything is proposed. We ask for the first one with the metadata `hasleader`.
  "etcdserver: no leader",
  "etcdserver: not capable",
  "etcdserver: rpc not supported for learner",
  // processInternalRaftRequestOnce, before the proposal.
  "etcdserver: too many requests",
  // raft.Step refused to append it: no leader here, or leadership is just being moved.
  "raft proposal dropped",
]);

const LEASE_NOT_FOUND = "etcdserver: requested lease not found";
const COMPACTED = "etcdserver: mvcc: required revision has been compacted";
const NO_SPACE = "etcdserver: mvcc: database space exceeded";
const TOO_LARGE = /request is too large|too many operations|message larger than max/;
/** grpc-js: the call waited for a connection until its end, or there was none. It never left this process. */
const NEVER_SENT = /^No connection established|^Name resolution failed|Waiting for LB pick|waiting for name resolution/;

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

export function isCompacted(error: unknown): boolean {
  return isServiceError(error) && error.details === COMPACTED;
}

export function isLeaseNotFound(error: unknown): boolean {
  return isServiceError(error) && error.details === LEASE_NOT_FOUND;
}

/** The call ended without any answer from the server in its time: the connection may be a dead one. */
export function isSilence(error: unknown): boolean {
  return isServiceError(error) && error.code === Status.DEADLINE_EXCEEDED;
}

/** Worth asking another member: the fault is the member's or the way's to it, not the question's. */
export function isWorthRepeating(error: unknown): boolean {
  if (!isServiceError(error)) return error instanceof StoreUnavailableError;
  switch (error.code) {
    case Status.UNAVAILABLE:
    case Status.DEADLINE_EXCEEDED:
    case Status.RESOURCE_EXHAUSTED:
    case Status.INTERNAL:
    case Status.UNKNOWN:
    case Status.DATA_LOSS:
    case Status.CANCELLED:
      return true;
    default:
      return false;
  }
}

/** Names the fault for a log line or a message. */
export function describe(error: unknown): string {
  if (isServiceError(error)) return error.details || error.message;
  return error instanceof Error ? error.message : String(error);
}

/** The error of a call that changes nothing in the store, or may be repeated freely. */
export function readError(error: unknown, what: string): Error {
  if (error instanceof LongshoreError) return error;
  return new StoreUnavailableError(`${what}: ${describe(error)}`, error);
}

/**
 * The error of a transaction that was handed to grpc. `writes` is false for one without operations: whatever became
 * of it, it had no effect.
 */
export function transactionError(error: unknown, leases: readonly string[], writes: boolean): Error {
  if (error instanceof LongshoreError) return error;
  if (!isServiceError(error)) return new OutcomeUnknownError(`the transaction failed: ${describe(error)}`, error);
  const { code, details } = error;
  if (details === LEASE_NOT_FOUND) return new LeaseGoneError(leases.join(", "), error);
  const fromEtcd = details.startsWith("etcdserver: ");
  if (TOO_LARGE.test(details)) {
    return new LongshoreError("limit", `etcd refused the transaction: ${details}`, error);
  }
  if (fromEtcd && code === Status.INVALID_ARGUMENT) {
    return new LongshoreError("invalid-argument", `etcd refused the transaction: ${details}`, error);
  }
  const refused =
    WITHOUT_EFFECT.has(details) ||
    (fromEtcd && (code === Status.PERMISSION_DENIED || code === Status.UNAUTHENTICATED)) ||
    code === Status.UNIMPLEMENTED;
  if (!writes || refused || NEVER_SENT.test(details)) {
    return new StoreUnavailableError(`the transaction was not applied: ${details}`, error);
  }
  const advice = details === NO_SPACE ? " (compact and defragment etcd, then disarm its alarm)" : "";
  return new OutcomeUnknownError(`the transaction may have been applied: ${details}${advice}`, error);
}
