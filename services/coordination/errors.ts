import { LongshoreError } from "#lib/errors.js";

/** The call certainly had no effect: no connection, no quorum, refused before it was sent, or a read that failed. */
export class StoreUnavailableError extends LongshoreError {
  constructor(message: string, cause?: unknown) {
    super("unavailable", message, cause);
    this.name = "StoreUnavailableError";
  }
}

/** A transaction was sent and its answer never came. */
export class OutcomeUnknownError extends LongshoreError {
  constructor(message: string, cause?: unknown) {
    super("outcome-unknown", message, cause);
    this.name = "OutcomeUnknownError";
  }
}

/** A put named a lease that the store doesn't know (any more): its holder is dead to the cluster. Nothing was applied. */
export class LeaseGoneError extends LongshoreError {
  constructor(lease: string, cause?: unknown) {
    super("cut-off", `the lease ${lease} is gone from the store`, cause);
    this.name = "LeaseGoneError";
  }
}
