import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { Upload } from "#commit/contract.js";
import { type CommitEngine, createCommitEngine } from "#commit/engine.js";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import type { Coordination, Lease } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import { newIncarnation } from "#lib/incarnation.js";
import { createMeter } from "#quota/meter.js";
import { createUsages, type Usages } from "#quota/usages.js";
import type { Session } from "#sessions/contract.js";
import type { RefusedOperation } from "#sessions/refused.js";
import { createSessions } from "#sessions/sessions.js";
import type { Store } from "#storage/contract.js";
import { createPosixStore } from "#storage/posix/store.js";
import { recordingLogger } from "../cluster/fixture.js";

/** Nodes in one process, on one store and one storage: real files, real transactions, deaths by taking a lease away. */
export interface TestNode {
  readonly engine: CommitEngine;
  readonly store: Store;
  readonly usages: Usages;
  /** What its sessions were refused. */
  readonly refused: readonly RefusedOperation[];
  /** Lets its lease end: to the others it is dead, though its code goes on (a zombie). */
  die(): Promise<void>;
  /** Begins a new incarnation. */
  rejoin(): Promise<void>;
  session(account?: string): Session;
}

export interface World {
  readonly root: string;
  readonly coordination: Coordination;
  node(): Promise<TestNode>;
}

export async function createWorld(local = true, configOf = fixedConfig): Promise<World> {
  const top = await mkdtemp(join(tmpdir(), "longshore-commit-"));
  const root = join(top, "storage");
  await import("node:fs/promises").then(({ mkdir }) => mkdir(root));
  const coordination = createEmbeddedCoordination({ directory: join(top, "store") });
  const siteId = randomUUID();
  const stops: (() => Promise<void>)[] = [];
  after(async () => {
    for (const stop of stops) await stop();
    await coordination.close();
    await rm(top, { recursive: true, force: true });
  });
  const config = configOf(siteId);
  let count = 0;
  return {
    root,
    coordination,
    async node() {
      count += 1;
      const nodeId = randomUUID();
      const store = await createPosixStore({ root, local, siteId, initialize: true });
      let current: { incarnation: string; lease: Lease; ownerRevision: number } | undefined;
      const listeners = new Set<() => void>();
      const join = async () => {
        const lease = await coordination.lease();
        const incarnation = newIncarnation(nodeId);
        const put = { put: keys.owner(incarnation), value: "0", lease: lease.id };
        const { revision } = await coordination.transact({ compare: [], apply: [put] });
        current = { incarnation, lease, ownerRevision: revision };
        for (const listener of listeners) listener();
      };
      await join();
      const logger = recordingLogger();
      const engine = createCommitEngine({
        coordination,
        store,
        node: `node-${count}`,
        nodeId,
        standing: {
          current: () => current,
          onIncarnation: (callback) => {
            listeners.add(callback);
            return () => listeners.delete(callback);
          },
        },
        partialLifetimeMs: () => 3_600_000,
        observer: { committed: () => {}, failed: () => {}, recovered: () => {} },
        meter: createMeter({ config, store }),
        logger,
      });
      engine.start();
      const usages = createUsages({ coordination, logger });
      usages.start();
      stops.push(async () => {
        usages.stop();
        await engine.stop();
        await current?.lease.release();
      });
      const refused: RefusedOperation[] = [];
      const observer = {
        opened: () => {},
        bytes: () => {},
        ended: () => {},
        refused: (operation: RefusedOperation) => void refused.push(operation),
      };
      const sessions = createSessions({
        config,
        store,
        engine,
        usages,
        storageFault: () => undefined,
        logger,
        observer,
      });
      return {
        engine,
        store,
        usages,
        refused,
        die: async () => void (await current?.lease.release()),
        rejoin: join,
        session: (account = "alice") => sessions.open({ account, clientAddress: "192.0.2.1", protocol: "sftp" }),
      };
    },
  };
}

function fixedConfig(siteId: string): ConfigView {
  const accounts = new Map(["alice", "bob"].map((name) => [name, accountSchema.parse({ name })]));
  const site = siteSchema.parse({ id: siteId, name: "test" });
  const snapshot: Snapshot = { revision: 1, hash: "", ...noEntries(), site, accounts, hostKeys: [] };
  return { snapshot: () => snapshot, onChange: () => () => {} };
}

export function write(file: { write: Upload["file"]["write"] }, offset: number, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write(offset, [Buffer.from(text)], (error) => (error ? reject(error) : resolve()));
  });
}

export const intent = {
  read: { read: true, write: false, append: false, create: false, truncate: false, exclusive: false },
  put: { read: false, write: true, append: false, create: true, truncate: true, exclusive: false },
  resume: { read: false, write: true, append: false, create: true, truncate: false, exclusive: false },
};
