import type { EffectiveAccount } from "#config/effective.js";
import type { Room, Usages } from "#quota/usages.js";
import type { Store } from "#storage/contract.js";
import type { RoomOf } from "./upload-handle.js";

/** What quotas leave an account, at a physical path; `replaced`: bytes of the file that would go. */
export class QuotaRoom {
  readonly #usages: Usages | undefined;
  readonly #account: () => EffectiveAccount;

  /** `account` throws once it is gone. */
  constructor(usages: Usages | undefined, account: () => EffectiveAccount) {
    this.#usages = usages;
    this.#account = account;
  }

  known(path: string, replaced: number): Room | undefined {
    try {
      return this.#usages?.room(this.#account(), path, replaced);
    } catch {
      return undefined; // the account is gone: its close says so
    }
  }

  /** Of an upload; undefined where no quota binds it. */
  async forUpload(store: Pick<Store, "find">, path: string): Promise<RoomOf | undefined> {
    if (this.known(path, 0) === undefined) return undefined;
    const replaced = await sizeAt(store, path);
    return {
      known: () => this.known(path, replaced),
      now: async () => this.#usages?.roomNow(this.#account(), path, replaced),
    };
  }

  askRecount(target: string): void {
    this.#usages?.askRecount(target);
  }
}

/** Zero where nothing is, and where it can't be looked at: the commit judges by what it finds then. */
async function sizeAt(store: Pick<Store, "find">, path: string): Promise<number> {
  try {
    return (await store.find(path))?.size ?? 0;
  } catch {
    return 0;
  }
}
