import { type Fault, InvalidConfigError, StaleRevisionError } from "#config/errors.js";
import { asLongshoreError, type ErrorCode, LongshoreError } from "#lib/errors.js";

/** RFC 9457 problem details. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly code?: string;
  /** Of an invalid body: what is wrong, and where. */
  readonly faults?: readonly Fault[];
  /** Of a stale write: the entry's revision now; 0: it doesn't exist. */
  readonly currentRevision?: number;
}

/** A request that HTTP itself has a status for. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail?: string,
  ) {
    super(detail ?? title);
    this.name = "HttpError";
  }
}

/** Statuses of our own errors; what isn't named here is a fault of ours, 500. */
const STATUS: Partial<Record<ErrorCode, readonly [status: number, title: string]>> = {
  "not-found": [404, "Not found"],
  exists: [409, "It exists already"],
  "invalid-argument": [422, "Not valid"],
  superseded: [412, "Changed by somebody else"],
  busy: [503, "Busy"],
  limit: [503, "Busy"],
  "cut-off": [503, "Cut off"],
  unavailable: [503, "The coordination store doesn't answer"],
  // The change may be in force: the client reads before it repeats.
  "outcome-unknown": [504, "It isn't known whether the change was made"],
};

/** What a client is told of an error; `unexpected` ones are logged where this is called, and told without detail. */
export function problemOf(error: unknown): { readonly problem: Problem; readonly unexpected: boolean } {
  if (error instanceof HttpError) {
    const { status, title, detail } = error;
    const problem = { type: "about:blank", title, status, ...(detail === undefined ? {} : { detail }) };
    return { problem, unexpected: false };
  }
  const known = error instanceof LongshoreError ? STATUS[error.code] : undefined;
  if (known === undefined) {
    const { code } = asLongshoreError(error, "");
    const problem = { type: "about:blank", title: "Internal error", status: 500, code };
    return { problem, unexpected: true };
  }
  const { code, message } = error as LongshoreError;
  const [status, title] = known;
  return {
    problem: {
      type: `urn:longshore:error:${code}`,
      title,
      status,
      detail: cut(message, MAX_DETAIL),
      code,
      ...(error instanceof InvalidConfigError ? { faults: boundedFaults(error.faults) } : {}),
      ...(error instanceof StaleRevisionError ? { currentRevision: error.current } : {}),
    },
    unexpected: false,
  };
}

/** A body of a megabyte can have a fault in each byte; nobody reads more than so many. */
const MAX_FAULTS = 100;
const MAX_DETAIL = 2_000;
const MAX_FAULT = 300;

function boundedFaults(faults: readonly Fault[]): readonly Fault[] {
  return faults
    .slice(0, MAX_FAULTS)
    .map(({ path, message }) => ({ path: cut(path, MAX_FAULT), message: cut(message, MAX_FAULT) }));
}

function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}...`;
}
