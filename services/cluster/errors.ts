import { LongshoreError } from "#lib/errors.js";

/** Another living node holds this node's name, slot or id. The message says who, and what to change. */
export class NodeConflictError extends LongshoreError {
  constructor(message: string) {
    super("exists", message);
    this.name = "NodeConflictError";
  }
}
