import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Coordination, Entry, TransactionResult } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";

/** What the suite needs of a backend. */
export interface Backend {
  start(): Promise<void>;
  /** A client onto a store without entries. */
  open(): Promise<Coordination>;
  /** Ends the client as a crash would (its leases aren't released) and gives another one onto the same entries. */
  reopen(store: Coordination): Promise<Coordination>;
  stop(): Promise<void>;
}

export class EtcdBackend implements Backend {
  #cluster: EtcdCluster | undefined;
  readonly #sites = new WeakMap<Coordination, string>();

  async start(): Promise<void> {
    this.#cluster = await startEtcd();
  }

  async open(site: string = randomUUID()): Promise<Coordination> {
    const store = createEtcdCoordination({ endpoints: this.#cluster?.endpoints ?? [], site });
    this.#sites.set(store, site);
    return store;
  }

  async reopen(store: Coordination): Promise<Coordination> {
    await store.close();
    return await this.open(this.#sites.get(store));
  }

  async stop(): Promise<void> {
    await this.#cluster?.stop();
  }
}

export class EmbeddedBackend implements Backend {
  #root = "";
  readonly #directories = new WeakMap<Coordination, string>();

  async start(): Promise<void> {
    this.#root = await mkdtemp(join(tmpdir(), "longshore-embedded-"));
  }

  async open(directory = join(this.#root, randomUUID())): Promise<Coordination> {
    const store = createEmbeddedCoordination({ directory });
    this.#directories.set(store, directory);
    return store;
  }

  async reopen(store: Coordination): Promise<Coordination> {
    await store.close();
    return await this.open(this.#directories.get(store));
  }

  async stop(): Promise<void> {
    await rm(this.#root, { recursive: true, force: true });
  }
}

export const put = (key: string, value = "", lease?: string) => ({
  put: key,
  value,
  ...(lease === undefined ? {} : { lease }),
});

export function applied(result: TransactionResult): number {
  assert.equal(result.applied, true, JSON.stringify(result));
  return result.revision;
}

export function refused(result: TransactionResult): readonly (readonly Entry[])[] {
  if (result.applied) assert.fail("the transaction was applied");
  return result.found;
}
