import { LongshoreError, systemCode } from "#lib/errors.js";
import type { Calls } from "./calls.js";
import { type Layout, PRIVATE } from "./layout.js";

/**
 * Physical paths of virtual ones. Links are made by administrators only (protocols refuse SYMLINK), so what is checked here
 * can't be swapped by a partner between the check and the use.
 */
export class Resolver {
  readonly #layout: Layout;
  readonly #calls: Calls;
  readonly #homes = new Map<string, string>();

  constructor(layout: Layout, calls: Calls) {
    this.#layout = layout;
    this.#calls = calls;
  }

  /** The physical path of what `parts` name below `home`; its last part need not exist. */
  async resolve(home: string, parts: readonly string[], follow: boolean): Promise<string> {
    const top = await this.#home(home);
    const last = parts[parts.length - 1];
    if (last === undefined) return this.#physical(top, top);
    const parent = await this.#real(`${top}/${parts.slice(0, -1).join("/")}`);
    this.#physical(parent, top);
    const path = `${parent}/${last}`;
    if (!follow || !(await this.#isLink(path))) return this.#physical(path, top);
    // a link to nothing is refused: it must not become a file that lies where it points
    return this.#physical(await this.#real(path), top);
  }

  /** The parts below `home` of a physical path, or undefined where it isn't below it. */
  async within(home: string, physical: string): Promise<readonly string[] | undefined> {
    const top = await this.#home(home);
    const path = this.#layout.absolute(physical);
    if (path === top) return [];
    return path.startsWith(`${top}/`) ? path.slice(top.length + 1).split("/") : undefined;
  }

  /** Homes may be links of the administrator's; they stay what they were when first used. */
  async #home(home: string): Promise<string> {
    const known = this.#homes.get(home);
    if (known !== undefined) return known;
    const real = await this.#real(this.#layout.absolute(home));
    this.#physical(real, this.#layout.root);
    if (this.#homes.size > 10_000) this.#homes.clear();
    this.#homes.set(home, real);
    return real;
  }

  async #real(path: string): Promise<string> {
    try {
      return await this.#calls.realpath(path);
    } catch (error) {
      throw missing(error);
    }
  }

  async #isLink(path: string): Promise<boolean> {
    try {
      return (await this.#calls.find(path))?.isSymbolicLink() === true;
    } catch (error) {
      throw missing(error);
    }
  }

  #physical(path: string, top: string): string {
    if (path !== top && !path.startsWith(`${top}/`)) {
      throw new LongshoreError("not-found", "no such file");
    }
    const physical = path.slice(this.#layout.root.length + 1);
    if (physical === PRIVATE || physical.startsWith(`${PRIVATE}/`)) {
      throw new LongshoreError("not-found", "no such file");
    }
    return physical;
  }
}

function missing(error: unknown): LongshoreError {
  const code = systemCode(error);
  if (code === "EACCES" || code === "EPERM") return new LongshoreError("permission-denied", "no access", error);
  if (code === "ENAMETOOLONG") return new LongshoreError("name-too-long", "the name is too long", error);
  if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") {
    return new LongshoreError("not-found", "no such file or directory", error);
  }
  return new LongshoreError("io", `the storage failed: ${code ?? "unknown error"}`, error);
}
