import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { z } from "zod";
import type { Coordination, Entry } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { keys } from "#coordination/keys.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { readIfThere } from "../files.js";
import type { Report } from "../up/report.js";
import { copyStore } from "./copy.js";
import { commandTo, type Mode } from "./plan.js";
import { planStoreMove } from "./store-plan.js";

/** What is needed of a node's settings (services/node/settings.ts). */
export const etcdSettingsSchema = z.looseObject({
  site: z.string(),
  coordination: z.looseObject({
    kind: z.literal("etcd", "must be a node's settings with etcd"),
    endpoints: z.array(z.string()).min(1),
    tls: z.looseObject({ caFile: z.string(), certificateFile: z.string(), keyFile: z.string() }).optional(),
  }),
});
export type EtcdSettings = z.infer<typeof etcdSettingsSchema>;

export interface StoreMoveOptions {
  readonly to: Mode;
  readonly settings: EtcdSettings;
  /** Directory of the standalone node's store. */
  readonly embedded: string;
  readonly replace: boolean;
  readonly dryRun: boolean;
  readonly report: Report;
  /** A site's store in etcd. Default: by the settings. */
  readonly openSite?: (site: string) => Coordination;
}

const LIST_MS = 60_000;

/** Throws a CliError that names each faulty field. */
export function readEtcdSettings(file: string): EtcdSettings {
  let input: unknown;
  try {
    input = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new CliError(EXIT.usage, `--settings: ${file}: ${messageOf(error)}`, error);
  }
  const parsed = etcdSettingsSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new CliError(EXIT.usage, `--settings: ${file}: ${z.prettifyError(parsed.error)}`);
}

/**
 * Moves a site's store between a standalone node's disk and etcd, for a site that `longshore up` doesn't run: in containers,
 * or from settings files of its own. Nothing may run on either. Invariant: wherever this process dies, nodes never find the
 * whole site in both, and the same command goes on from there. Returns how many entries were (or would be) copied. Throws a
 * CliError.
 */
export async function moveStore(options: StoreMoveOptions): Promise<number> {
  const { to, embedded, replace, dryRun } = options;
  const openSite = options.openSite ?? ((site: string) => openEtcd(options.settings, site));
  const etcd = openSite(options.settings.site);
  const open = new Set<Coordination>([etcd]);
  const at = async <T>(directory: string, action: (disk: Coordination) => Promise<T>): Promise<T> => {
    const disk = openDisk(directory);
    open.add(disk);
    try {
      return await action(disk);
    } finally {
      await disk.close();
    }
  };
  // Only one that is there: looking makes none.
  const look = async (directory: string) =>
    existsSync(directory)
      ? await at(directory, async (disk) => (await disk.list("", { deadlineMs: LIST_MS })).entries)
      : undefined;
  try {
    const inEtcd = (await etcd.list("", { deadlineMs: LIST_MS })).entries;
    const onDisk = await look(embedded);
    const underWay = await look(onItsWay(embedded, to));
    if (to === "cluster" && onDisk !== undefined && underWay !== undefined) throw twoSources(embedded, to);
    const arrived = to === "standalone" && isWhole(underWay) && !inEtcd.some(({ key }) => key === keys.site);
    const [source, target] =
      to === "cluster"
        ? [underWay ?? onDisk, inEtcd]
        : // The nodes that still run are told by etcd alone.
          [arrived ? [...inEtcd.filter(({ lease }) => lease !== undefined), ...(underWay ?? [])] : inEtcd, onDisk];
    const plan = planStoreMove({ to, source, target, replace });
    if (plan.kind === "refused") throw new CliError(plan.exitCode, plan.why);
    if (dryRun) return plan.entries;
    if (to === "cluster") return await promote(etcd, at, options);
    if (!arrived) await demote(etcd, at, openSite, options);
    if (existsSync(embedded)) options.report.step(`what was there lies in ${putAside(embedded, embedded, to)}`);
    renameSync(onItsWay(embedded, to), embedded);
    options.report.step(`the site is in ${embedded} from now on`);
    return plan.entries;
  } catch (error) {
    if (error instanceof StoreUnavailableError) throw new CliError(EXIT.unavailable, error.message, error);
    throw error;
  } finally {
    for (const each of open) await each.close();
  }
}

type AtDisk = <T>(directory: string, action: (disk: Coordination) => Promise<T>) => Promise<T>;

/** The former store leaves its place before anything is in the new one. */
async function promote(etcd: Coordination, at: AtDisk, { to, embedded, report }: StoreMoveOptions): Promise<number> {
  const from = onItsWay(embedded, to);
  if (!existsSync(from)) renameSync(embedded, from);
  report.step(`the site lies in ${from} until it is copied: if this ends before, give the same command with --replace`);
  const count = await at(from, (disk) => copyStore(disk, etcd));
  report.step(`copied ${count} entries to etcd, and compared them`);
  report.step(`the former store lies in ${putAside(from, embedded, to)}; delete it when you don't need it any more`);
  return count;
}

/** The new store comes to its place only when nothing is in etcd any more. */
async function demote(
  etcd: Coordination,
  at: AtDisk,
  openSite: (site: string) => Coordination,
  { to, embedded, settings, report }: StoreMoveOptions,
): Promise<void> {
  const into = onItsWay(embedded, to);
  rmSync(into, { recursive: true, force: true });
  const count = await at(into, (disk) => copyStore(etcd, disk));
  report.step(`copied ${count} entries to ${into}, and compared them`);
  // Under another prefix, as a directory would be renamed.
  const aside = `${settings.site}.before-${commandTo(to)}`;
  const former = openSite(aside);
  try {
    await copyStore(etcd, former);
  } finally {
    await former.close();
  }
  await etcd.transact({ compare: [], apply: [{ deletePrefix: "" }] });
  report.step(`what was in etcd lies below /longshore/${aside}/ there`);
}

/** Where the site lies on the disk during a move, and no node looks for it. */
function onItsWay(embedded: string, to: Mode): string {
  return `${embedded}.${commandTo(to)}-under-way`;
}

/** The head is what a copy ends with. */
function isWhole(entries: readonly Entry[] | undefined): boolean {
  return [keys.site, keys.configHead].every((wanted) => entries?.some(({ key }) => key === wanted) === true);
}

function twoSources(embedded: string, to: Mode): CliError {
  return new CliError(
    EXIT.conflict,
    `${onItsWay(embedded, to)} holds the site of a move that was broken off, and ${embedded} is there, too: ` +
      "move away the one that isn't the site's",
  );
}

function putAside(directory: string, embedded: string, to: Mode): string {
  const aside = `${embedded}.before-${commandTo(to)}`;
  rmSync(aside, { recursive: true, force: true });
  renameSync(directory, aside);
  return aside;
}

/** Throws a CliError where a node runs on it. */
function openDisk(directory: string): Coordination {
  try {
    return createEmbeddedCoordination({ directory });
  } catch (error) {
    if (error instanceof StoreUnavailableError) throw new CliError(EXIT.conflict, error.message, error);
    throw error;
  }
}

function openEtcd({ coordination }: EtcdSettings, site: string): Coordination {
  const { endpoints, tls } = coordination;
  if (tls === undefined) return createEtcdCoordination({ endpoints, site });
  const read = (file: string) => {
    const text = readIfThere(file);
    if (text === undefined) throw new CliError(EXIT.usage, `--settings: ${file} isn't there`);
    return text;
  };
  return createEtcdCoordination({
    endpoints,
    site,
    tls: { ca: read(tls.caFile), cert: read(tls.certificateFile), key: read(tls.keyFile) },
  });
}
