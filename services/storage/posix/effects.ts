import { dirname } from "node:path";
import { asLongshoreError, LongshoreError, systemCode } from "#lib/errors.js";
import { failpoint } from "#lib/failpoints.js";
import type { Effect, Placement } from "../contract.js";
import { type Calls, callsToFree } from "./calls.js";
import type { Directories } from "./directories.js";
import type { Layout } from "./layout.js";

/** Errors that say "not now": the record stays, and somebody tries again (commit.md, step 6). */
const PASSING = new Set([
  "ENOSPC",
  "EDQUOT",
  "EIO",
  "ESTALE",
  "EINTR",
  "EAGAIN",
  "EMFILE",
  "ENFILE",
  "ENOMEM",
  "EROFS",
  "ENODEV",
]);
const PLACED: Placement = { outcome: "placed" };
const GONE: Placement = { outcome: "gone" };

/**
 * Puts effects in place by renames, each of which can succeed only once: its source is a name that no one makes again. So
 * owner, helper and zombie may all try, at any time; a released claim leaves no call that can still succeed. Transient
 * errors are thrown.
 */
export class Effects {
  readonly #layout: Layout;
  readonly #calls: Calls;
  readonly #directories: Directories;

  constructor(layout: Layout, calls: Calls, directories: Directories) {
    this.#layout = layout;
    this.#calls = calls;
    this.#directories = directories;
  }

  async place(id: string, effect: Effect): Promise<Placement> {
    try {
      switch (effect.kind) {
        case "upload":
          return await this.#moveIn(id, "data", effect.path, true);
        case "mkdir":
        case "link":
          return await this.#moveIn(id, "v", effect.path, false);
        case "remove":
        case "rmdir":
          return await this.#moveOut(id, effect);
        case "rename":
          return await this.#move(id, effect);
      }
    } catch (error) {
      throw asLongshoreError(error, "the storage failed");
    }
  }

  /** upload, mkdir, link: what was made aside gets its name. */
  async #moveIn(id: string, source: "data" | "v", path: string, replace: boolean): Promise<Placement> {
    const staged = `${this.#layout.op(id)}/${source}`;
    const target = this.#layout.absolute(path);
    if (!replace && (await this.#exists(staged)) && (await this.#exists(target))) {
      return this.#refuse(id, source, target, new LongshoreError("exists", "a file of that name exists"));
    }
    const replaced = replace ? await this.#calls.find(target) : undefined;
    try {
      await callsToFree(this.#calls, replaced?.size).rename(staged, target);
      failpoint("renamed");
    } catch (error) {
      const code = systemCode(error);
      if (code !== undefined && PASSING.has(code)) throw error;
      if (code !== "ENOENT" && code !== "ENOTDIR")
        return this.#refuse(id, source, target, asLongshoreError(error, "can't be placed"));
      // the source or the target's parent; never judged by the target itself, which consumers delete (step 4)
      if (await this.#exists(staged)) {
        return this.#refuse(id, source, target, new LongshoreError("not-found", "the directory is gone"));
      }
      if (!(await this.#exists(this.#layout.op(id)))) return this.#afterRefusal(id, source, target, error);
    }
    await this.#directories.sync(dirname(target));
    return PLACED;
  }

  /** The rename can't ever succeed. The directory's own rename shuts out every later try; then its content decides. */
  async #refuse(id: string, source: string, target: string, error: LongshoreError): Promise<Placement> {
    await this.#renameIfThere(this.#layout.op(id), this.#layout.op(`${id}.refused`));
    return this.#afterRefusal(id, source, target, error);
  }

  async #afterRefusal(id: string, source: string, target: string, error: unknown): Promise<Placement> {
    const refused = this.#layout.op(`${id}.refused`);
    if (!(await this.#exists(refused))) return GONE;
    if (await this.#exists(`${refused}/${source}`)) {
      return { outcome: "refused", error: asLongshoreError(error, "can't be placed") };
    }
    await this.#directories.sync(dirname(target));
    return PLACED;
  }

  /** remove, rmdir: the name's owner moves into the staging directory, which is then renamed against late comers (step 7). */
  async #moveOut(id: string, effect: Effect & { kind: "remove" | "rmdir" }): Promise<Placement> {
    const target = this.#layout.absolute(effect.path);
    const held = await this.#takeOut(id, target);
    if (held === undefined) return GONE;
    const stat = await this.#calls.find(held);
    if (stat === undefined) return refusedMissing();
    const wanted = effect.kind === "rmdir" ? stat.isDirectory() : !stat.isDirectory();
    const full = effect.kind === "rmdir" && wanted && (await this.#calls.readdir(held)).length > 0;
    if (wanted && !full) {
      await this.#directories.sync(dirname(target));
      return PLACED;
    }
    await this.#renameIfThere(held, target);
    if (full) return { outcome: "refused", error: new LongshoreError("not-empty", "the directory is not empty") };
    return effect.kind === "rmdir"
      ? { outcome: "refused", error: new LongshoreError("not-a-directory", "not a directory") }
      : { outcome: "refused", error: new LongshoreError("is-a-directory", "it is a directory") };
  }

  async #move(id: string, effect: Effect & { kind: "rename" }): Promise<Placement> {
    const from = this.#layout.absolute(effect.from);
    const target = this.#layout.absolute(effect.path);
    const held = await this.#takeOut(id, from);
    if (held === undefined) return GONE;
    const staging = dirname(held);
    const [given, back, had] = [`${staging}/w`, `${staging}/back`, `${staging}/had`];
    // which of the names is there tells every helper how far it went, in this order: v, w, back, had
    if (await this.#exists(held)) {
      await this.#make(had);
      const refused = await this.#moveOn(held, target, effect.replace);
      if (refused !== undefined && (await this.#renameIfThere(held, given))) {
        await this.#giveBack(given, back, from);
        return { outcome: "refused", error: refused };
      }
    }
    if (await this.#exists(given)) await this.#giveBack(given, back, from);
    if (await this.#exists(back)) {
      return { outcome: "refused", error: new LongshoreError("io", "can't be renamed to that name") };
    }
    if (!(await this.#exists(had))) return refusedMissing();
    await this.#directories.sync(dirname(target));
    await this.#directories.sync(dirname(from));
    return PLACED;
  }

  /** The move to `w` decided it; `back` says so for ever, before `w` is gone. */
  async #giveBack(given: string, back: string, from: string): Promise<void> {
    await this.#make(back);
    await this.#renameIfThere(given, from);
    await this.#directories.sync(dirname(from));
  }

  /** Why what is held can't go to its target; undefined where it is there (now, or by another's hand). */
  async #moveOn(held: string, target: string, replace: boolean): Promise<LongshoreError | undefined> {
    if (!(await this.#exists(held))) return undefined;
    if (!replace && (await this.#exists(target))) return new LongshoreError("exists", "a file of that name exists");
    try {
      await this.#calls.rename(held, target);
      return undefined;
    } catch (error) {
      const code = systemCode(error);
      if (code !== undefined && PASSING.has(code)) throw error;
      if (code === "ENOENT" && !(await this.#exists(held))) return undefined;
      return asLongshoreError(error, "can't be renamed to that name");
    }
  }

  /**
   * Moves `target` to `ops/<id>/v`, then shuts the directory as `<id>.f`; the path of `v` in it (which may be absent), or
   * undefined where the staging is gone.
   */
  async #takeOut(id: string, target: string): Promise<string | undefined> {
    const open = this.#layout.op(id);
    const shut = this.#layout.op(`${id}.f`);
    await this.#renameIfThere(target, `${open}/v`);
    failpoint("renamed");
    await this.#renameIfThere(open, shut);
    return (await this.#exists(shut)) ? `${shut}/v` : undefined;
  }

  async #renameIfThere(from: string, to: string): Promise<boolean> {
    try {
      await this.#calls.rename(from, to);
      return true;
    } catch (error) {
      const code = systemCode(error);
      if (code === "ENOENT" || code === "ENOTDIR") return false;
      throw error;
    }
  }

  async #make(path: string): Promise<void> {
    try {
      await this.#calls.mkdir(path, 0o700);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
    }
  }

  async #exists(path: string): Promise<boolean> {
    return (await this.#calls.find(path)) !== undefined;
  }
}

function refusedMissing(): Placement {
  return { outcome: "refused", error: new LongshoreError("not-found", "no such file") };
}
