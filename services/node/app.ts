import { createAgent } from "#admin/agent.js";
import { readPair } from "#admin/certificate.js";
import { type Admin, createAdmin } from "#admin/server.js";
import { createBackups } from "#backup/backup.js";
import { watchApplying, watchLastBackup } from "#backup/watch.js";
import { createActiveSwitch } from "#cluster/active-switch.js";
import { otherCertificates } from "#cluster/certificates.js";
import { clockAgrees, clockOffsetMs } from "#cluster/clocks.js";
import type { Heartbeat, NodeIdentity } from "#cluster/contract.js";
import { createCoordinator } from "#cluster/coordinator.js";
import { isWell } from "#cluster/decide.js";
import { NodeConflictError } from "#cluster/errors.js";
import { createIntents } from "#cluster/intents.js";
import { createMembersView } from "#cluster/members.js";
import { createMembership } from "#cluster/membership.js";
import { createRememberedRequests } from "#cluster/remembered-requests.js";
import { createAccounts } from "#config/accounts.js";
import { createAdministrators } from "#config/administrators.js";
import { bootstrap } from "#config/bootstrap.js";
import { ClusterKeyError } from "#config/errors.js";
import { createSiteSettings } from "#config/site.js";
import { createSiteDocuments } from "#config/site-documents.js";
import { createConfigView } from "#config/view.js";
import { hostPort } from "#lib/address.js";
import { pause } from "#lib/clock.js";
import { LongshoreError, systemCode } from "#lib/errors.js";
import { newIncarnation } from "#lib/incarnation.js";
import { seal } from "#lib/seal.js";
import { createActivityLog } from "#life/activity.js";
import { createLogger, type RootLogger } from "#observe/logger.js";
import { createMetrics } from "#observe/metrics.js";
import { NATIVE_CRYPTO_MEND, nativeCrypto } from "#protocols/sftp/native.js";
import { createUsages } from "#quota/usages.js";
import type { Store } from "#storage/contract.js";
import { createNodeActive } from "./active.js";
import { createNodeAudit } from "./audit.js";
import { anchorAudit, readAnchors } from "./audit-anchor.js";
import { createNodeCertificates } from "./certificates.js";
import { watchOwnClock } from "./clock-watch.js";
import { measured, openCoordination } from "./coordination.js";
import { coordinatorWorks } from "./coordinator-work.js";
import { createDataPath, type DataPath, openStore } from "./data-path.js";
import { hashInForce, isMismatch } from "./drift.js";
import { EXIT_FAILED, EXIT_SETTINGS, StartupError } from "./errors.js";
import { folderUsages } from "./folder-usage.js";
import { createLiveAdminToken } from "./live-admin-token.js";
import { createLiveKeyRing } from "./live-key-ring.js";
import { createLoadMeter } from "./load.js";
import { adminTokenIn, clusterKeyIn, nodeIdIn } from "./local-files.js";
import { createNodeState } from "./node-state.js";
import { METRIC_LABELS } from "./observers.js";
import { createProtection } from "./protection.js";
import { createSecurityKeeper } from "./security-keeper.js";
import type { NodeSettings } from "./settings.js";
import { createSnapshotKeeper } from "./snapshot-keeper.js";
import { createStorageWatch } from "./storage-health.js";
import { VERSION } from "./version.js";
import { serveWithoutStore, type WithoutStore } from "./without-store.js";

export interface App {
  /**
   * Resolves when partners are taken and the node is part of its site. Waits for the store and the storage as long as it
   * takes, saying so in its health; without the store, partners are served meanwhile with the configuration that this
   * node kept on its disk, where that is young enough. Rejects with a StartupError, or with code `closed` where `stop`
   * came first. What was started is still to be stopped.
   */
  start(): Promise<void>;
  /** Leaves the balancer and lets transfers end, at most `drainMs`. Ends at once when `stop` is called. */
  drain(): Promise<void>;
  /** Ends everything that was started, in reverse. Idempotent, never rejects. */
  stop(): Promise<void>;
}

/** From the state `draining` to a balancer that has surely noticed: four of its agent checks. */
const LEAVE_MS = 1_000;

/** The only composition root: makes every part of a node and hands each one what it needs. Throws StartupError. */
export function createApp(settings: NodeSettings): App {
  const firstToken = adminTokenIn(settings.adminTokenFile);
  const firstKeys = clusterKeyIn(settings.clusterKeyFile);
  assertAdminTls(settings);
  const identity = identityOf(settings);

  const logger = createLogger({ node: settings.name, level: settings.logLevel });
  // Node would write its own warnings between our lines, as plain text.
  process.removeAllListeners("warning").on("warning", ({ name, message }) => logger.warn(message, { warning: name }));
  const keyRing = createLiveKeyRing(settings.clusterKeyFile, firstKeys, logger);
  const clusterKey = keyRing.ring;
  const adminToken = createLiveAdminToken(settings.adminTokenFile, firstToken, logger);
  const metrics = createMetrics({ node: settings.name, version: VERSION, labels: METRIC_LABELS });
  const opened = openCoordination(settings, logger);
  const coordination = measured(opened.store, metrics);
  const stopping = new AbortController();

  // A standalone node's store is on this very disk: there is no start without it.
  const whose = { ring: clusterKey, site: settings.site, nodeId: identity.id };
  const keeper =
    settings.coordination.kind === "embedded"
      ? undefined
      : createSnapshotKeeper({
          directory: settings.dataDirectory,
          whose,
          logger,
        });
  const config = createConfigView({ coordination, clusterKey, logger, ...(keeper && { keeper }) });
  const graceMs = () => config.snapshot().site.cutOffGraceSeconds * 1_000;
  const members = createMembersView({ coordination });
  const lastBackup = watchLastBackup(coordination);
  let store: Store | undefined;
  let dataPath: DataPath | undefined;
  let listening = false;
  let withoutStore: WithoutStore | undefined;

  const load = createLoadMeter({
    totalBytes: () => metrics.totalBytes,
    sessions: () => dataPath?.sessions ?? 0,
    transfers: () => dataPath?.transfers ?? 0,
  });
  const sealKeys = () => clusterKey.map(({ id }) => id);
  /** With what else must be the same on all nodes: a key file that one of them lacks is drift, too. */
  const configStatus = () => {
    const status = config.status();
    return { ...status, hash: hashInForce(status.hash, { clusterKeys: sealKeys().toSorted().join() }) };
  };
  const certificates = createNodeCertificates(() => admin.certificate(), opened.etcdTls);
  const heartbeat = (): Heartbeat => {
    const { revision, hash, lagMs } = configStatus();
    return {
      ...state.now(),
      revision,
      hash,
      lagMs,
      load: load.now(),
      sealKeys: sealKeys(),
      certificates: certificates(),
    };
  };
  const membership = createMembership({ coordination, identity, heartbeat, logger });
  const storage = createStorageWatch({
    probe: () => store?.probe() ?? Promise.reject(new LongshoreError("unavailable", "it isn't open")),
    onChange: () => state.check(),
    logger,
  });
  const audit = createNodeAudit({
    identity,
    dataDirectory: settings.dataDirectory,
    storagePath: settings.storage.path,
    mayShip: () => store !== undefined && storage.health()?.healthy === true && membership.usable(),
    logger,
  });
  const state = createNodeState({
    conditions: () => ({
      onKeptConfig: withoutStore?.chosen() ?? false,
      drainWished: membership.drainWished(),
      leaseUsable: membership.usable(),
      membershipProblem: membership.problem(),
      configLoaded: config.loaded(),
      configProblem: config.status().faults[0] && "the configuration in the store can't be used: see the log",
      storage: storage.health(),
      auditProblem: audit.problem(),
      listening,
      passive: active.whyPassive(),
    }),
    sinceContactMs: () => withoutStore?.sinceContactMs() ?? 0,
    onChange: ({ state: what, reasons }) => {
      membership.touch();
      coordinator.check();
      active.check();
      audit.record({ kind: "state", what, outcome: "ok", who: identity.name, details: { reasons } });
    },
    logger,
  });

  const protection = createProtection({
    coordination,
    nodeId: identity.id,
    balancers: settings.balancers,
    membership,
    members,
    config,
    transfers: () => dataPath?.runningTransfers() ?? [],
    endBanned: (isBanned) => dataPath?.endBanned(isBanned),
    metrics,
    audit,
    keeper: keeper && createSecurityKeeper({ directory: settings.dataDirectory, whose, logger }),
    logger,
  });

  const active = createNodeActive({
    coordination,
    identity,
    membership,
    members,
    config,
    state: () => state.now().state,
    cutOffMs: () => state.cutOffMs(),
    graceMs,
    onChange: () => state.check(),
    metrics,
    audit,
    logger,
  });

  const coordinator = createCoordinator({
    coordination,
    identity,
    membership,
    ready: () => isWell(state.now().state) && clockAgrees(members.list(), identity.id, Date.now()),
    works: coordinatorWorks({
      ...{ coordination, config, clusterKey, audit, logger, node: identity.name, store: () => store },
      storagePath: () => (storage.health()?.healthy === true ? settings.storage.path : undefined),
    }),
    onEvent: (what, generation) =>
      audit.record({ kind: "coordinator", what, outcome: "ok", who: identity.name, details: { generation } }),
    logger,
  });

  const usages = createUsages({ coordination, logger });
  const folders = folderUsages(config, usages, metrics.quotas);

  const activity = createActivityLog({ coordination, nodeId: identity.id, logger });

  /**
   * Whether those that are here are served: their sessions end where this is false. A node that is cut off or whose storage
   * is full or gone says so by its state; its sessions still read, or hear a clear error, and nothing is won by ending them.
   */
  const serving = (): boolean => listening && dataPath !== undefined && !dataPath.suspended && active.serves();
  const startedAt = performance.now();
  const admin = createAdmin({
    host: settings.admin.host,
    port: settings.admin.port,
    tls: settings.admin.tls,
    token: adminToken.current,
    node: {
      identity,
      state: () => state.now(),
      serving,
      incarnation: () => membership.current()?.incarnation,
      leaseUsable: () => membership.usable(),
      config: configStatus,
      sealKeys,
      certificates,
      load: () => load.now(),
      clients: () => dataPath?.clients() ?? [],
      storage: () => storage.health(),
      async tryStorage(name, act) {
        if (store === undefined) throw new LongshoreError("unavailable", "the storage isn't open yet");
        return await store.tryStorage(name, act, identity.name);
      },
      uptime: () => (performance.now() - startedAt) / 1_000,
    },
    members,
    accounts: createAccounts({ coordination }),
    administrators: createAdministrators({ coordination }),
    inForce: () => (config.loaded() ? config.snapshot().administrators : undefined),
    ...(settings.balancers === undefined ? {} : { balancers: settings.balancers }),
    onRefusal: (reason) => metrics.adminRefused(reason),
    site: createSiteSettings({ coordination }),
    documents: createSiteDocuments({ coordination, clusterKey }),
    intents: createIntents({ coordination }),
    requests: createRememberedRequests({ coordination }),
    protection: protection.parts,
    backups: createBackups({
      coordination,
      clusterKey,
      node: { name: identity.name, id: identity.id, settings: `${JSON.stringify(settings, null, 2)}\n` },
      software: VERSION,
    }),
    audit: { ...audit, anchors: () => readAnchors(coordination) },
    usage: folders,
    coordinator,
    active: active.held,
    activeSwitch: createActiveSwitch({ coordination, members }),
    seal: (plaintext, storeKey) => seal(plaintext, clusterKey, storeKey),
    metrics,
    logger,
  });
  const agent = settings.agent && createAgent({ ...settings.agent, state: () => state.now().state });

  metrics.attach({
    sessions: () => dataPath?.sessions ?? 0,
    transfers: () => dataPath?.transfers ?? 0,
    connections: () => dataPath?.connections() ?? { authenticated: 0, unauthenticated: 0 },
    configRevision: () => config.status().revision,
    configHash: () => configStatus().hash,
    configMismatch: () =>
      isMismatch(configStatus(), members.list()) || otherCertificates(certificates(), members.list()).length > 0,
    certificates,
    configLagMs: () => config.status().lagMs,
    configInvalid: () => config.status().faults.length > 0,
    configSnapshotAge: () => keeper?.ageSeconds(),
    lastBackupAt: () => lastBackup.at(),
    leaseUsable: () => membership.usable(),
    state: () => state.now().state,
    members: () => members.list().map((member) => member.state),
    clockOffsetMs: () => clockOffsetMs(members.list(), identity.id),
    storageFreeBytes: () => storage.health()?.freeBytes,
    storageSizeBytes: () => storage.health()?.totalBytes,
    storageHealthy: () => storage.health()?.healthy ?? false,
    audit: () => audit.figures(),
    coordinator: () => ({ holds: coordinator.isHolder(), generation: coordinator.holder()?.generation ?? 0 }),
    active: active.gauges,
    nativeCrypto: () => NATIVE_CRYPTO,
  });

  const ends: (() => Promise<void> | void)[] = [
    () => logger.close(),
    () => metrics.close(),
    () => coordination.close(),
    () => opened.stop(),
    () => keyRing.stop(),
    () => adminToken.stop(),
  ];
  keyRing.onChange(() => {
    // What couldn't be opened before may be now.
    config.refresh();
    membership.touch();
  });

  const start = async (): Promise<void> => {
    const { signal } = stopping;
    logger.info("the node starts", { version: VERSION, id: identity.id, slot: identity.slot, pid: process.pid });
    if (!NATIVE_CRYPTO) logger.error("ssh2's native crypto isn't loaded", { mend: NATIVE_CRYPTO_MEND });

    await listenForOperators(admin, agent);
    state.start();
    ends.push(() => state.stop());
    ends.push(() => members.stop());
    members.onChange((nodes) => {
      // Another node has a newer configuration than we heard of: our watch missed it, or will tell any moment.
      if (nodes.some((each) => each.revision > config.status().revision)) config.refresh();
    });
    ends.push(watchOwnClock({ members, id: identity.id, name: identity.name, audit, logger }));
    members.start();

    ends.push(() => keeper?.stop());
    ends.push(lastBackup.start());
    ends.push(watchApplying({ coordination, applyingMs: () => config.applyingMs(), logger }));
    ends.push(() => membership.stop());
    ends.push(() => config.stop());
    membership.onChange(() => state.check());
    config.onChange(() => membership.touch());
    const joined = Promise.all([loadConfig(signal), membership.start(signal)]);
    if (keeper !== undefined) {
      const options = { keeper, config, graceMs, serve: () => open(signal), logger };
      withoutStore = serveWithoutStore({ ...options, storeAnswers: () => membership.usable(), joined, signal });
    }
    await joined;
    await open(signal);
    state.check();
  };

  let opening: Promise<void> | undefined;
  /** The data path, once: with the store's configuration, or before that with the kept one. */
  const open = (signal: AbortSignal): Promise<void> => {
    opening ??= openOnce(signal);
    return opening;
  };

  const openOnce = async (signal: AbortSignal): Promise<void> => {
    ends.push(() => protection.stop());
    await protection.start();
    ends.push(() => audit.stop());
    // What changes while the rest ends (the lease goes) can't be put on the record any more, and is no loss.
    ends.push(() => state.stop());
    await audit.open(membership.current()?.incarnation ?? newIncarnation(identity.id));
    ends.push(anchorAudit({ coordination, identity, membership, shipped: audit.shippedPosition, logger }));
    ends.push(() => activity.stop());
    activity.start();
    ends.push(() => coordinator.stop());
    coordinator.start();
    ends.push(() => active.stop());
    active.start();
    ends.push(() => storage.stop());
    store = await openStore({
      settings,
      siteId: () => config.snapshot().site.id,
      coordination,
      storeNeeded: () => !(withoutStore?.chosen() ?? false) || config.loaded(),
      logger,
      onProblem: storage.report,
      signal,
    });
    storage.start();
    dataPath = createDataPath({
      settings,
      identity,
      coordination,
      membership,
      config,
      store,
      storageHealth: () => storage.health(),
      usages,
      protection,
      takes: active.takes,
      metrics,
      audit,
      onLogin: (account) => activity.loggedIn(account),
      logger,
    });
    ends.push(() => dataPath?.stop());
    ends.push(active.mind(dataPath));
    await dataPath.listen();
    listening = true;
    state.check();
  };

  const listenForOperators = async (...listeners: readonly (Pick<Admin, "listen" | "close"> | undefined)[]) => {
    for (const each of listeners) {
      if (each === undefined) continue;
      ends.push(() => each.close());
      await each.listen();
    }
  };

  const loadConfig = async (signal: AbortSignal) => {
    await bootstrap({ coordination, clusterKey, siteName: settings.site, logger, signal });
    return await config.start(signal);
  };

  let started: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;
  return {
    start() {
      started ??= start().catch((error: unknown) => {
        throw asStartupError(error, settings);
      });
      return started;
    },
    async drain() {
      state.stopping();
      if (stopping.signal.aborted || !listening || dataPath === undefined) return;
      logger.info("the node drains", { sessions: dataPath.sessions, transfers: dataPath.transfers });
      // The listener stays open until the balancers have noticed: nobody shall be sent to a closed door.
      if (agent !== undefined) await pause(LEAVE_MS, stopping.signal);
      await dataPath.drain(settings.drainMs, stopping.signal);
    },
    stop() {
      stopped ??= (async () => {
        state.stopping();
        stopping.abort();
        // A start under way may still open something: it is let end, so that it is closed, too.
        await started?.catch(() => {});
        await opening?.catch(() => {});
        listening = false;
        await unwind(ends, logger);
      })();
      return stopped;
    },
  };
}

const NATIVE_CRYPTO = nativeCrypto();

/** Throws StartupError where the admin port's certificate can't be used. */
function assertAdminTls({ admin }: NodeSettings): void {
  try {
    if (admin.tls !== undefined) readPair(admin.tls);
  } catch (error) {
    throw new StartupError(error instanceof Error ? error.message : String(error), EXIT_SETTINGS, error);
  }
}

function identityOf(settings: NodeSettings): NodeIdentity {
  const { name, slot, labels, sftp, admin, agent } = settings;
  const addresses = {
    sftp: hostPort(sftp),
    admin: hostPort(admin),
    ...(agent === undefined ? {} : { agent: hostPort(agent) }),
  };
  return { id: nodeIdIn(settings.dataDirectory), name, slot, labels, version: VERSION, addresses };
}

/** In reverse order; what fails to end keeps nothing else from ending. */
async function unwind(ends: (() => Promise<void> | void)[], logger: RootLogger): Promise<void> {
  for (let end = ends.pop(); end !== undefined; end = ends.pop()) {
    // The last one is the log itself.
    if (ends.length === 0) logger.info("the node has ended");
    try {
      await end();
    } catch (error) {
      logger.error("a part of the node failed to end", { error });
    }
  }
}

function asStartupError(error: unknown, settings: NodeSettings): unknown {
  if (error instanceof StartupError) return error;
  if (error instanceof NodeConflictError) return new StartupError(error.message, EXIT_SETTINGS, error);
  if (error instanceof ClusterKeyError)
    return new StartupError(`clusterKeyFile: ${error.message}`, EXIT_SETTINGS, error);
  if (systemCode(error) === "EADDRINUSE") {
    const { host, port } = settings.sftp;
    return new StartupError(`sftp: port ${port} is taken on ${host}: give "sftp" another one`, EXIT_FAILED, error);
  }
  if (error instanceof LongshoreError && error.code === "closed") return error;
  return new StartupError(error instanceof Error ? error.message : String(error), EXIT_FAILED, error);
}
