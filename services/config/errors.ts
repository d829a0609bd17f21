import type { z } from "zod";
import { LongshoreError } from "#lib/errors.js";

/** One thing that is wrong, and where: `permissions.0.path`. An empty path is the whole entry. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** What was to be written isn't valid. Nothing was changed. */
export class InvalidConfigError extends LongshoreError {
  readonly faults: readonly Fault[];

  constructor(what: string, faults: readonly Fault[]) {
    super("invalid-argument", `${what}: ${faults.map((fault) => describe(fault)).join("; ")}`);
    this.name = "InvalidConfigError";
    this.faults = faults;
  }
}

/** Somebody else changed the entry since it was read. Nothing was changed: read it again and decide anew. */
export class StaleRevisionError extends LongshoreError {
  /** The entry's revision now; 0: it doesn't exist. */
  readonly current: number;

  constructor(what: string, current: number) {
    super("superseded", `${what} was changed by somebody else; its revision is ${current} now`);
    this.name = "StaleRevisionError";
    this.current = current;
  }
}

/** This node's cluster key isn't the one that the site's secrets are sealed with. */
export class ClusterKeyError extends LongshoreError {
  constructor(message: string, cause?: unknown) {
    super("io", message, cause);
    this.name = "ClusterKeyError";
  }
}

export function faultsOf(error: z.ZodError): Fault[] {
  return error.issues.map((issue) => ({ path: issue.path.join("."), message: issue.message }));
}

export function describe(fault: Fault): string {
  return fault.path === "" ? fault.message : `${fault.path}: ${fault.message}`;
}
