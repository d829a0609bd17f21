import type { Actor } from "#commit/contract.js";
import { type ErrorCode, LongshoreError } from "#lib/errors.js";
import type { Session } from "./contract.js";

/** A file operation that an account was not allowed. */
export interface RefusedOperation {
  /** `open`, `delete`, `rename`, `link`, `mkdir`, `rmdir`, `list`, `set-attributes`. */
  readonly operation: string;
  readonly actor: Actor;
  readonly code: ErrorCode;
  readonly error: string;
}

/** What belongs on the record: somebody tried what he may not, or with a path that no client makes by mistake. */
const TOLD: ReadonlySet<ErrorCode> = new Set(["permission-denied", "quota-exceeded", "invalid-argument"]);

const WATCHED = {
  open: "open",
  openDirectory: "list",
  remove: "delete",
  rename: "rename",
  link: "link",
  makeDirectory: "mkdir",
  removeDirectory: "rmdir",
  setAttributes: "set-attributes",
} as const;
type Watched = keyof typeof WATCHED;

/**
 * Tells of each refusal at the session's own methods, whatever protocol calls them. What an open upload meets later is told
 * by its transfer's end.
 */
export function tellRefusals(session: Session, protocol: string, tell: (refused: RefusedOperation) => void): void {
  const { id, account, clientAddress: address } = session;
  for (const name of Object.keys(WATCHED) as Watched[]) {
    const asked = session[name].bind(session) as (...given: unknown[]) => Promise<unknown>;
    // an async function runs up to its first await at once: the order of calls stays as it was
    const watched = async (...given: unknown[]) => {
      try {
        return await asked(...given);
      } catch (error) {
        if (error instanceof LongshoreError && TOLD.has(error.code)) {
          const path = String(given[0]);
          const target = name === "rename" || name === "link" ? { target: String(given[1]) } : {};
          const actor = { account, session: id, address, protocol, path, ...target };
          tell({ operation: WATCHED[name], actor, code: error.code, error: error.message });
        }
        throw error;
      }
    };
    Object.defineProperty(session, name, { value: watched });
  }
}
