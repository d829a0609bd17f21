import type { Actor, CommitEngine } from "#commit/engine.js";
import type { EffectiveAccount } from "#config/effective.js";
import { isCode, LongshoreError } from "#lib/errors.js";
import type { PartialName, StatChange, Store } from "#storage/contract.js";
import { fromFileStat, fromQuota, fromVolume, maskMode, ofPartial } from "./attributes.js";
import { authorize, authorizeAny } from "./authorize.js";
import type {
  AttributeChange,
  Attributes,
  DirectoryHandle,
  FileHandle,
  OpenIntent,
  Session,
  VolumeStatistics,
} from "./contract.js";
import { copyBetween } from "./copy.js";
import { decideOpen, decideRemove, decideRename, decideSetAttributes, type Presence } from "./decide.js";
import { Listing } from "./directory.js";
import { DownloadHandle } from "./download-handle.js";
import { folderNames, folderRole, isSamePlace, placeOf, VIRTUAL_DIRECTORY } from "./folders.js";
import { NameOrder } from "./order.js";
import { QuotaRoom } from "./room.js";
import type { SessionOptions } from "./session-options.js";
import { TransferLog } from "./transfer-log.js";
import { UploadHandle } from "./upload-handle.js";
import { VirtualPath } from "./virtual-path.js";

const ROOT = VirtualPath.parse("/");

/** One account's view of its files; see contract.ts for what each call promises. */
export class AccountSession implements Session {
  readonly id: string;
  readonly account: string;
  readonly clientAddress: string;
  readonly #options: SessionOptions;
  readonly #store: Store;
  readonly #engine: CommitEngine;
  readonly #room: QuotaRoom;
  readonly #order = new NameOrder();
  readonly #handles = new Set<FileHandle>();
  /** Open uploads by normalised virtual path: SETSTAT by path means them. */
  readonly #uploads = new Map<string, UploadHandle>();
  readonly #bases = new Map<string, Promise<void>>();
  #transfers = 0;
  #ended: Promise<void> | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#engine = options.engine;
    this.#room = new QuotaRoom(options.usages, options.account);
    this.id = options.id;
    this.account = options.account().name;
    this.clientAddress = options.clientAddress;
  }

  stat(path: string, follow: boolean): Promise<Attributes> {
    const at = VirtualPath.parse(path);
    return this.#order.run([at.toString()], false, async () => {
      authorizeAny(this.#account(), at.toString(), "list", "read", "write");
      return this.#ownUpload(at) ?? this.#attributesAt(at, follow);
    });
  }

  openDirectory(path: string): Promise<DirectoryHandle> {
    const at = VirtualPath.parse(path);
    return this.#order.run([at.toString()], false, async () => {
      authorize(this.#account(), at.toString(), "list");
      const folders = folderNames(this.#account(), at);
      const directory = await this.#directory(at);
      if (directory === undefined) return this.#listing(at, folders, new Set(), async () => VIRTUAL_DIRECTORY);
      const partials = new Set(await this.#engine.listPartials(this.account, directory));
      const names = new Set([...(await this.#store.list(directory)), ...partials]);
      return this.#listing(at, folders, names, async (name) => {
        const own = this.#ownUpload(VirtualPath.of([...at.parts, name]));
        if (own !== undefined) return own;
        const physical = directory === "" ? name : `${directory}/${name}`;
        return this.#attributesOf(physical, !partials.has(name));
      });
    });
  }

  open(path: string, wanted: OpenIntent): Promise<FileHandle> {
    // whoever creates wants to write, also paramiko's mode "x", which doesn't say so
    const intent = wanted.create && !wanted.read ? { ...wanted, write: true } : wanted;
    const at = VirtualPath.parse(path);
    const virtual = at.toString();
    return this.#order.run([virtual], intent.write, async () => {
      if (this.#isFixed(at)) throw new LongshoreError("is-a-directory", "it is a directory");
      if (!intent.write) authorize(this.#account(), virtual, "read");
      else authorizeAny(this.#account(), virtual, "write", "overwrite");
      const name = this.#nameOf(await this.#resolve(at, true));
      for (let round = 0; ; round += 1) {
        const handle = await this.#openOnce(virtual, name, intent);
        if (handle !== undefined) return this.#keep(handle);
        // a partial that was there a moment ago is committed, or taken over by somebody else: look again
        if (round >= 5) throw new LongshoreError("busy", "the upload keeps changing hands: try again");
      }
    });
  }

  remove(path: string): Promise<void> {
    return this.#change([path], async ([at]) => {
      const physical = await this.#resolve(at as VirtualPath, false);
      const decision = decideRemove(await this.#presence(physical));
      if (decision.act === "refuse") throw decision.error;
      if (decision.act === "discard-partial") {
        authorizeAny(this.#account(), String(at), "delete", "write");
        if (await this.#engine.discardPartial(this.#nameOf(physical))) return;
        throw new LongshoreError("busy", "the upload was completed just now: try again");
      }
      authorize(this.#account(), String(at), "delete");
      await this.#engine.change({ kind: "remove", path: physical }, this.#actor(String(at)));
    });
  }

  rename(from: string, to: string, replace: boolean): Promise<void> {
    return this.#change([from, to], async ([source, target]) => {
      authorize(this.#account(), String(source), "rename");
      authorize(this.#account(), String(target), "write");
      const old = await this.#resolve(source as VirtualPath, false);
      const path = await this.#resolve(target as VirtualPath, false);
      if (old === path) return;
      const moves = !this.#sameBase(source as VirtualPath, target as VirtualPath);
      if (path.startsWith(`${old}/`)) throw new LongshoreError("invalid-argument", "a directory can't go into itself");
      const decision = decideRename(await this.#presence(old), await this.#presence(path), replace);
      if (decision.act === "refuse") throw decision.error;
      if (moves && (await this.#store.stat(old)).type === "directory") {
        // what is in it would come under other permissions and another quota, unasked
        throw new LongshoreError("unsupported", "a directory can't move between folders: copy it");
      }
      if (decision.over) authorize(this.#account(), String(target), "overwrite");
      if (decision.discardPartial) await this.#engine.discardPartial(this.#nameOf(path));
      await this.#engine.change(
        { kind: "rename", from: old, path, replace },
        this.#actor(String(source), String(target)),
      );
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.#change([from, to], async ([source, target]) => {
      authorize(this.#account(), String(source), "read");
      authorize(this.#account(), String(target), "write");
      if (!this.#store.capabilities.hardLinks) {
        throw new LongshoreError("unsupported", "this storage has no hard links");
      }
      if (!this.#sameBase(source as VirtualPath, target as VirtualPath)) {
        throw new LongshoreError("unsupported", "a link can't lead from one folder to another");
      }
      const old = await this.#resolve(source as VirtualPath, false);
      const path = await this.#resolve(target as VirtualPath, false);
      const found = await this.#presence(old);
      if (found.committed !== "file") throw new LongshoreError("not-found", "no such file");
      const there = await this.#presence(path);
      if (there.committed !== "none" || there.partial) throw new LongshoreError("exists", "a file of that name exists");
      await this.#engine.change({ kind: "link", from: old, path }, this.#actor(String(source), String(target)));
    });
  }

  makeDirectory(path: string, attributes: AttributeChange): Promise<void> {
    if (this.#isFixed(VirtualPath.parse(path))) {
      return Promise.reject(new LongshoreError("exists", "a directory of that name exists"));
    }
    return this.#change([path], async ([at]) => {
      authorize(this.#account(), String(at), "mkdir");
      const physical = await this.#resolve(at as VirtualPath, false);
      const found = await this.#presence(physical);
      if (found.committed !== "none" || found.partial) throw new LongshoreError("exists", "a file of that name exists");
      const mode = attributes.mode === undefined ? 0o755 : (attributes.mode & 0o777) | 0o700;
      await this.#engine.change({ kind: "mkdir", path: physical }, this.#actor(String(at)), mode);
    });
  }

  removeDirectory(path: string): Promise<void> {
    return this.#change([path], async ([at]) => {
      authorize(this.#account(), String(at), "delete");
      const physical = await this.#resolve(at as VirtualPath, false);
      const found = await this.#store.stat(physical);
      if (found.type !== "directory") throw new LongshoreError("not-a-directory", "not a directory");
      if ((await this.#store.list(physical)).length > 0) {
        throw new LongshoreError("not-empty", "the directory is not empty");
      }
      await this.#engine.change({ kind: "rmdir", path: physical }, this.#actor(String(at)));
    });
  }

  setAttributes(path: string, change: AttributeChange, follow: boolean): Promise<void> {
    const at = VirtualPath.parse(path);
    const own = this.#uploads.get(at.toString());
    if (own !== undefined && !own.ending) return own.setAttributes(change);
    if (change.size !== undefined) return this.#resize(path, change);
    return this.#order.run([at.toString()], true, async () => {
      authorize(this.#account(), at.toString(), "set-times");
      const physical = await this.#resolve(at, follow);
      const decision = decideSetAttributes(await this.#presence(physical, this.#isFixed(at)));
      if (decision.act === "refuse") throw decision.error;
      await this.#store.setAttributes(physical, maskMode(change));
    });
  }

  readLink(path: string): Promise<string> {
    const at = VirtualPath.parse(path);
    return this.#order.run([at.toString()], false, async () => {
      authorizeAny(this.#account(), at.toString(), "list", "read");
      const link = await this.#resolve(at, false);
      if ((await this.#store.stat(link)).type !== "symlink") {
        throw new LongshoreError("invalid-argument", "not a link");
      }
      const place = placeOf(this.#account(), at);
      const target = await this.#store.within(place.base, await this.#resolve(at, true));
      const seen = target && VirtualPath.of([...place.mount, ...target]);
      // what a folder hides has no name of its own
      if (seen === undefined || placeOf(this.#account(), seen).base !== place.base) {
        throw new LongshoreError("not-found", "no such file");
      }
      return seen.toString();
    });
  }

  realPath(path: string): string {
    const home = path === "~" ? "/" : path.startsWith("~/") ? path.slice(1) : path;
    return VirtualPath.parse(home).toString();
  }

  async statVolume(path: string): Promise<VolumeStatistics> {
    const at = VirtualPath.parse(path);
    authorizeAny(this.#account(), at.toString(), "list", "read", "write");
    const role = folderRole(this.#account(), at);
    const physical = await this.#resolve(role === "above" ? ROOT : at, true);
    const stats = await this.#store.statVolume(physical);
    // of a directory: what a file in it would meet
    const room = role === "above" ? undefined : this.#room.known(`${physical}/`, 0);
    return room === undefined ? fromVolume(stats) : fromQuota(room, stats);
  }

  copy(from: FileHandle, fromOffset: number, length: number, to: FileHandle, toOffset: number): Promise<number> {
    return copyBetween(from, fromOffset, length, to, toOffset);
  }

  end(reason: string): Promise<void> {
    this.#ended ??= this.#end(reason);
    return this.#ended;
  }

  async #openOnce(virtual: string, name: PartialName, intent: OpenIntent): Promise<FileHandle | undefined> {
    const found = await this.#presence(name.path);
    const decision = decideOpen(intent, found);
    this.#transfers += 1;
    const id = `${this.id}-${this.#transfers}`;
    switch (decision.act) {
      case "refuse":
        throw decision.error;
      case "read":
        return this.#openRead(id, virtual, name.path);
      case "fresh": {
        this.#authorizeWrite(virtual, decision.over);
        const upload = await this.#engine.openFresh({ ...this.#uploadOptions(virtual, name, id), pointed: true });
        return this.#uploadHandle(id, virtual, name, intent, upload, false);
      }
      case "resume": {
        this.#authorizeWrite(virtual, decision.over);
        const upload = await this.#engine.openResume(this.#uploadOptions(virtual, name, id));
        return upload && (await this.#uploadHandle(id, virtual, name, intent, upload, true));
      }
      case "copy-on-write": {
        this.#authorizeWrite(virtual, true);
        const base = await this.#store.openRead(name.path);
        try {
          const upload = await this.#engine.openFresh({ ...this.#uploadOptions(virtual, name, id), pointed: false });
          return await this.#uploadHandle(id, virtual, name, intent, upload, false, {
            base,
            mode: (await base.stat()).mode,
          });
        } catch (error) {
          await base.close();
          throw error;
        }
      }
    }
  }

  async #openRead(id: string, virtual: string, physical: string): Promise<FileHandle> {
    const file = await this.#store.openRead(physical);
    const handle: DownloadHandle = new DownloadHandle({
      file,
      log: this.#log(id, "download", virtual),
      setAttributes: (change) => this.setAttributes(virtual, change, true),
      closed: () => this.#handles.delete(handle),
    });
    return handle;
  }

  async #uploadHandle(
    id: string,
    virtual: string,
    name: PartialName,
    intent: OpenIntent,
    upload: Awaited<ReturnType<CommitEngine["openFresh"]>>,
    resumed: boolean,
    old?: { base: Awaited<ReturnType<Store["openRead"]>>; mode: number },
  ): Promise<UploadHandle> {
    const at = VirtualPath.parse(virtual);
    const place = placeOf(this.#account(), at);
    const room = await this.#room.forUpload(this.#store, name.path);
    const inner: UploadHandle = new UploadHandle({
      upload,
      readable: intent.read,
      append: intent.append,
      resumed,
      mode: old?.mode ?? (intent.attributes?.mode ?? 0o644) & 0o777,
      ...(old && { base: old.base }),
      log: this.#log(id, "upload", virtual),
      ...(room && { room }),
      overQuota: (target) => this.#room.askRecount(target),
      authorizeCommit: async () => {
        // else the permissions of one place would let the file into another
        if (!isSamePlace(placeOf(this.#account(), at), place)) {
          throw new LongshoreError("permission-denied", "this path was moved to another place: upload it again");
        }
        this.#authorizeWrite(virtual, (await this.#store.find(name.path)) !== undefined);
      },
      applyAttributes: async (change: StatChange) => {
        authorize(this.#account(), virtual, "set-times");
        await this.#store.setAttributes(name.path, change);
      },
      closed: () => {
        this.#handles.delete(inner);
        if (this.#uploads.get(virtual) === inner) this.#uploads.delete(virtual);
      },
    });
    this.#uploads.set(virtual, inner);
    const close = inner.close.bind(inner);
    // in order with the session's other operations on the name: WinSCP pipelines SETSTAT behind CLOSE
    inner.close = () => this.#order.run([virtual], true, close);
    return inner;
  }

  /** Registers a handle; one whose connection ended during its open is let go at once. */
  async #keep(handle: FileHandle): Promise<FileHandle> {
    if (this.#ended !== undefined) {
      await handle.abandon();
      throw new LongshoreError("closed", "the session ended");
    }
    this.#handles.add(handle);
    return handle;
  }

  /** SETSTAT with a size, on a committed file: a small upload of its own. */
  async #resize(path: string, change: AttributeChange): Promise<void> {
    const handle = await this.open(path, {
      read: false,
      write: true,
      append: false,
      create: false,
      truncate: false,
      exclusive: false,
    });
    try {
      await handle.setAttributes(change);
    } catch (error) {
      await handle.abandon();
      throw error;
    }
    await handle.close();
  }

  #change(paths: readonly string[], act: (at: readonly VirtualPath[]) => Promise<void>): Promise<void> {
    const at = paths.map((path) => VirtualPath.parse(path));
    if (at.some((path) => path.isRoot)) {
      return Promise.reject(new LongshoreError("permission-denied", "the home directory itself can't be changed"));
    }
    if (at.some((path) => this.#isFixed(path))) {
      return Promise.reject(new LongshoreError("permission-denied", "a virtual folder itself can't be changed"));
    }
    return this.#order.run(at.map(String), true, () => act(at));
  }

  async #attributesAt(at: VirtualPath, follow: boolean): Promise<Attributes> {
    if (folderRole(this.#account(), at) === "above" && (await this.#directory(at)) === undefined) {
      return VIRTUAL_DIRECTORY;
    }
    return this.#attributesOf(await this.#resolve(at, follow), this.#isFixed(at));
  }

  /** The physical directory of a path; undefined where it is only there because a folder lies below it. */
  async #directory(at: VirtualPath): Promise<string | undefined> {
    const above = folderRole(this.#account(), at) === "above";
    try {
      const directory = await this.#resolve(at, true);
      if ((await this.#store.stat(directory)).type === "directory") return directory;
    } catch (error) {
      if (!above || !isCode(error, "not-found")) throw error;
    }
    if (above) return undefined;
    throw new LongshoreError("not-a-directory", "not a directory");
  }

  /**
   * What this session itself writes at the moment, as it stands: sshfs looks at what it has just opened, and appends from the
   * size that it sees. Only who comes back for it later, in another session, must see it one byte short (clients.md, finding 2).
   */
  #ownUpload(at: VirtualPath): Promise<Attributes> | undefined {
    const own = this.#uploads.get(at.toString());
    return own === undefined || own.failed ? undefined : own.attributes();
  }

  #listing(
    at: VirtualPath,
    folders: ReadonlySet<string>,
    names: ReadonlySet<string>,
    attributesOf: (name: string) => Promise<Attributes>,
  ): DirectoryHandle {
    return new Listing([...new Set([...names, ...folders])], (name) =>
      folders.has(name) ? this.#attributesAt(VirtualPath.of([...at.parts, name]), true) : attributesOf(name),
    );
  }

  /** Whether the path is the home, a virtual folder or above one: a directory by configuration, not to be changed. */
  #isFixed(at: VirtualPath): boolean {
    return at.isRoot || folderRole(this.#account(), at) !== undefined;
  }

  #sameBase(one: VirtualPath, other: VirtualPath): boolean {
    return placeOf(this.#account(), one).base === placeOf(this.#account(), other).base;
  }

  async #attributesOf(physical: string, noPartial: boolean): Promise<Attributes> {
    const partial = noPartial ? undefined : await this.#engine.findPartial(this.#nameOf(physical));
    if (partial === undefined) return fromFileStat(await this.#store.stat(physical));
    if (partial.prefix === 0) throw new LongshoreError("not-found", "no such file");
    return ofPartial(partial);
  }

  async #presence(physical: string, isRoot = false): Promise<Presence> {
    const partial = isRoot ? undefined : await this.#engine.findPartial(this.#nameOf(physical));
    const type = (await this.#store.find(physical))?.type ?? "none";
    return { committed: type === "symlink" ? "other" : type, partial: partial !== undefined };
  }

  #authorizeWrite(virtual: string, over: boolean): void {
    authorize(this.#account(), virtual, over ? "overwrite" : "write");
  }

  #uploadOptions(virtual: string, name: PartialName, transfer: string) {
    return { name, actor: { ...this.#actor(virtual), transfer }, power: this.#options.power() };
  }

  async #resolve(at: VirtualPath, follow: boolean): Promise<string> {
    // an empty listing of a bare mount point would make mirroring clients delete what they have
    const fault = this.#options.storageFault();
    if (fault !== undefined) throw fault;
    const { base, parts } = placeOf(this.#account(), at);
    await this.#ensureBase(base);
    return this.#store.resolve(base, parts, follow);
  }

  /** Home and folders are made at their first use, so that a new account's first session needs no administrator. */
  #ensureBase(base: string): Promise<void> {
    const known = this.#bases.get(base);
    if (known !== undefined) return known;
    const made = this.#store.ensureHome(base);
    this.#bases.set(base, made);
    made.catch(() => this.#bases.delete(base));
    return made;
  }

  #nameOf(path: string): PartialName {
    return { account: this.account, path };
  }

  #account(): EffectiveAccount {
    return this.#options.account();
  }

  /** `path` and `target` as the client named them. */
  #actor(path: string, target?: string): Actor {
    const { id: session, clientAddress: address } = this;
    const { protocol } = this.#options;
    return { account: this.account, session, address, protocol, path, ...(target !== undefined && { target }) };
  }

  #log(id: string, direction: "upload" | "download", path: string): TransferLog {
    const { logger, observer } = this.#options;
    return new TransferLog(id, direction, path, this.#actor(path), logger, observer);
  }

  async #end(reason: string): Promise<void> {
    this.#options.logger.info("session ended", { reason, open: this.#handles.size });
    await Promise.all([...this.#handles].map((handle) => handle.abandon()));
    this.#options.ended();
  }
}
