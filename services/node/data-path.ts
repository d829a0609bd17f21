import type { AuditSink } from "#audit/contract.js";
import type { Membership, NodeIdentity } from "#cluster/contract.js";
import { createCommitEngine } from "#commit/engine.js";
import type { RunningConfigView } from "#config/view.js";
import type { Coordination } from "#coordination/contract.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { createBackoff } from "#lib/backoff.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Metrics } from "#observe/metrics.js";
import { createListener } from "#protocols/net/listener.js";
import { type ConnectedClient, createSftpServer, type SftpServer } from "#protocols/sftp/server.js";
import { createMeter } from "#quota/meter.js";
import type { Usages } from "#quota/usages.js";
import { createSessions, type TransferOfSession } from "#sessions/sessions.js";
import type { Store } from "#storage/contract.js";
import { createPosixStore } from "#storage/posix/store.js";
import { commitJournal, loginRecords } from "./audit-observers.js";
import { commitObserver, connectionObserver, transferObserver } from "./observers.js";
import type { Protection } from "./protection.js";
import { createReplaceable } from "./replaceable.js";
import type { NodeSettings } from "./settings.js";
import type { StorageHealth } from "./storage-health.js";

export interface DataPathOptions {
  readonly settings: NodeSettings;
  readonly identity: NodeIdentity;
  readonly coordination: Coordination;
  readonly membership: Membership;
  readonly config: RunningConfigView;
  readonly store: Store;
  /** What the storage watch says now. */
  readonly storageHealth: () => StorageHealth | undefined;
  /** How full the folders with a quota are. */
  readonly usages: Usages;
  /** Who may come in, and who must go. */
  readonly protection: Protection;
  /** Whether it is this node's turn to let partners in. */
  readonly takes: () => boolean;
  readonly metrics: Metrics;
  readonly audit: AuditSink;
  /** Hears of each login; cheap. */
  readonly onLogin: (account: string) => void;
  readonly logger: Logger;
}

/** Everything that a partner's byte passes through, from the listener to the storage. */
export interface DataPath {
  /** Resolves once partners are taken. Throws the system's error. */
  listen(): Promise<void>;
  readonly sessions: number;
  readonly transfers: number;
  connections(): { readonly authenticated: number; readonly unauthenticated: number };
  clients(): readonly ConnectedClient[];
  runningTransfers(): readonly TransferOfSession[];
  /** Ends connections without a login whose address is banned. */
  endBanned(isBanned: (address: string) => boolean): void;
  /** Ends all sessions and takes no new ones, until `resume`. Idempotent. */
  suspend(reason: string): Promise<void>;
  resume(): void;
  readonly suspended: boolean;
  /** Takes nothing new and waits until no transfer runs, at most `mostMs` or until `signal` aborts. */
  drain(mostMs: number, signal: AbortSignal): Promise<void>;
  /** Ends what is left. Idempotent. */
  stop(): Promise<void>;
}

/**
 * A client that logs in, looks around and puts many files has gaps of a round trip or two between its requests: only so long a
 * silence means that it is done.
 */
const QUIET_MS = 1_000;
const DRAIN_TICK_MS = 50;
/** A commit that hangs on the store must not hang the process's end: recovery finishes it. */
const LAST_COMMITS_MS = 10_000;

export function createDataPath(options: DataPathOptions): DataPath {
  const { settings, identity, config, membership, store, metrics, audit, logger } = options;
  const transfers = transferObserver(metrics, audit);
  const observer = { ...connectionObserver(metrics), ...loginRecords(audit, options.onLogin) };
  const engine = createCommitEngine({
    coordination: options.coordination,
    store,
    standing: membership,
    node: identity.name,
    nodeId: identity.id,
    partialLifetimeMs: () => config.snapshot().site.partialLifetimeHours * 3_600_000,
    observer: commitObserver(metrics),
    journal: commitJournal(audit, identity.name, logger),
    meter: createMeter({ config, store }),
    logger,
  });
  const storageFault = (): LongshoreError | undefined => {
    const health = options.storageHealth();
    if (health === undefined || health.healthy) return undefined;
    // what is there can still be read, and a full one can be cleaned up
    if (health.code === "no-space" || health.code === "read-only") return undefined;
    return new LongshoreError("unavailable", "the storage can't be used at the moment: try again later");
  };
  const sessions = createSessions({
    config,
    store,
    engine,
    usages: options.usages,
    storageFault,
    logger,
    observer: transfers,
  });
  const { guard, registry } = options.protection;
  const newServer = (): SftpServer =>
    createSftpServer({ config, verifier: guard.verifier, sessions, registry, logger, observer });

  const sftp = createReplaceable(newServer, LAST_COMMITS_MS);
  const listener = createListener({
    host: settings.sftp.host,
    port: settings.sftp.port,
    ...(settings.balancers === undefined ? {} : { balancers: settings.balancers }),
    limits: () => config.snapshot().site.sftp,
    refusal: guard.refusal,
    takes: options.takes,
    onConnection(socket, client, release) {
      if (sftp.current !== undefined) sftp.current.accept(socket, client, release);
      else socket.destroy();
    },
    onHealthCheck: (socket) => (sftp.current === undefined ? socket.destroy() : sftp.current.greet(socket)),
    logger,
    observer,
  });

  let stopped: Promise<void> | undefined;
  return {
    async listen() {
      options.usages.start();
      engine.start();
      const { address, port } = await listener.listen();
      logger.info("partners are taken", { address, port, protocol: "sftp" });
    },
    get sessions() {
      return sessions.count;
    },
    get transfers() {
      return transfers.running;
    },
    connections() {
      const unauthenticated = listener.unauthenticated;
      return { authenticated: Math.max(0, (sftp.current?.connections() ?? 0) - unauthenticated), unauthenticated };
    },
    clients: () => sftp.current?.clients() ?? [],
    runningTransfers: () => sessions.transfers(),
    endBanned: (isBanned) => sftp.current?.endBanned(isBanned),
    suspend: (reason) => sftp.end(reason),
    get suspended() {
      return sftp.current === undefined;
    },
    resume() {
      if (stopped === undefined) sftp.begin();
    },
    async drain(mostMs, signal) {
      await listener.close();
      const until = monotonicMs() + mostMs;
      while (!signal.aborted && monotonicMs() < until && (sftp.current?.connections() ?? 0) > 0) {
        if (transfers.running === 0 && sftp.current?.busy(QUIET_MS) !== true) break;
        await pause(DRAIN_TICK_MS, signal);
      }
      if (transfers.running > 0)
        logger.warn("transfers are cut: they can be resumed", { transfers: transfers.running });
    },
    stop() {
      stopped ??= (async () => {
        await listener.close();
        await sftp.end("the server is stopping");
        await engine.stop();
        options.usages.stop();
      })();
      return stopped;
    },
  };
}

export interface OpenStoreOptions {
  readonly settings: NodeSettings;
  /** Asked at each try: a restored configuration may bring another one. */
  readonly siteId: () => string;
  readonly coordination: Coordination;
  /** False: a store that doesn't answer isn't waited for, and a storage that isn't the site's yet isn't taken. */
  readonly storeNeeded: () => boolean;
  readonly logger: Logger;
  /** Hears why the storage can't be opened yet. */
  readonly onProblem: (error: unknown) => void;
  readonly signal: AbortSignal;
}

const STORE_USED = keys.storeUsed("main");
const IMPATIENT_MS = 300;

/** Opens the shared storage, however long it takes until it is mounted. Rejects when `signal` aborts. */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { settings, coordination, logger, onProblem, signal } = options;
  const backoff = createBackoff({ firstMs: 100, mostMs: 2_000 });
  while (!signal.aborted) {
    try {
      const siteId = options.siteId();
      const used = await isUsed(options);
      const store = await createPosixStore({
        root: settings.storage.path,
        local: settings.storage.local,
        siteId,
        initialize: !used,
      });
      if (!used) {
        const apply = [{ put: STORE_USED, value: JSON.stringify({ site: siteId }) }];
        await coordination.transact({ compare: [{ key: STORE_USED, is: "absent" }], apply });
        logger.info("the storage is the site's from now on", { path: settings.storage.path });
      }
      return store;
    } catch (error) {
      onProblem(error);
      await backoff.wait(signal);
    }
  }
  throw new LongshoreError("closed", "stopped while waiting for the storage");
}

/** Whether a node of the site has used the storage before. Without an answer of the store, where none is needed: yes. */
async function isUsed({ coordination, storeNeeded }: OpenStoreOptions): Promise<boolean> {
  if (storeNeeded()) return (await coordination.get(STORE_USED)) !== undefined;
  try {
    return (await coordination.get(STORE_USED, { deadlineMs: IMPATIENT_MS })) !== undefined;
  } catch (error) {
    if (error instanceof StoreUnavailableError) return true;
    throw error;
  }
}
