import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import type { PartialName } from "../contract.js";

/** Where things lie below `<root>/.longshore`: the one place that spells these names. */
export const PRIVATE = ".longshore";

export class Layout {
  readonly root: string;
  readonly private: string;
  readonly ops: string;
  readonly partials: string;
  readonly closed: string;
  readonly probes: string;
  readonly sentinel: string;
  /** The answer before: files come directory by directory. */
  #last: { account: string; directory: string; partials: string } | undefined;

  constructor(root: string) {
    this.root = root;
    this.private = join(root, PRIVATE);
    this.ops = join(this.private, "ops");
    this.partials = join(this.private, "partials");
    this.closed = join(this.private, "closed");
    this.probes = join(this.private, "probes");
    this.sentinel = join(this.private, "site");
  }

  absolute(path: string): string {
    return path === "" ? this.root : `${this.root}/${path}`;
  }

  op(id: string): string {
    return `${this.ops}/${id}`;
  }

  data(id: string): string {
    return `${this.ops}/${id}/data`;
  }

  /** One directory for each account and directory of targets, so that READDIR finds an account's partials by one call. */
  partialDirectory(account: string, directory: string): string {
    const last = this.#last;
    if (last !== undefined && last.account === account && last.directory === directory) return last.partials;
    const hash = createHash("sha256").update(account).update("\0").update(directory).digest("hex").slice(0, 32);
    const partials = `${this.partials}/${hash}`;
    this.#last = { account, directory, partials };
    return partials;
  }

  pointer(name: PartialName): string {
    return `${this.partialDirectory(name.account, parentOf(name.path))}/${basename(name.path)}`;
  }

  /** Ends the ids of all uploads to the pointer's name: what a pointer lost its upload by is found again by this. */
  tag(pointer: string): string {
    return createHash("sha256").update(pointer.slice(this.partials.length)).digest("hex").slice(0, 16);
  }
}

/** The physical path of the directory that holds `path` ("" is the root). */
export function parentOf(path: string): string {
  const parent = dirname(path);
  return parent === "." ? "" : parent;
}
