import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { z } from "zod";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
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
 * or from settings files of its own. Nothing may run on either. The former store is put aside, so that nobody serves from
 * it by mistake. Returns how many entries were (or would be) copied. Throws a CliError.
 */
export async function moveStore(options: StoreMoveOptions): Promise<number> {
  const { to, embedded, replace, dryRun, report } = options;
  const { site } = options.settings;
  const etcd = openEtcd(options.settings, site);
  let disk: Coordination | undefined;
  try {
    const inEtcd = (await etcd.list("", { deadlineMs: LIST_MS })).entries;
    // Only one that is there: looking makes none.
    disk = existsSync(embedded) ? openDisk(embedded) : undefined;
    const onDisk = disk && (await disk.list("", { deadlineMs: LIST_MS })).entries;
    const [source, target] = to === "cluster" ? [onDisk, inEtcd] : [inEtcd, onDisk];
    const plan = planStoreMove({ to, source, target, replace });
    if (plan.kind === "refused") throw new CliError(plan.exitCode, plan.why);
    if (dryRun) return plan.entries;

    if (to === "cluster" && disk !== undefined) {
      const count = await copyStore(disk, etcd);
      report.step(`copied ${count} entries to etcd, and compared them`);
      await disk.close();
      disk = undefined;
      report.step(`the former store lies in ${putAside(embedded, to)}; delete it when you don't need it any more`);
      return count;
    }
    await disk?.close();
    disk = undefined;
    if (existsSync(embedded)) report.step(`what was there lies in ${putAside(embedded, to)}`);
    disk = openDisk(embedded);
    const count = await copyStore(etcd, disk);
    report.step(`copied ${count} entries to ${embedded}, and compared them`);
    await retireEtcd(etcd, options);
    return count;
  } catch (error) {
    if (error instanceof StoreUnavailableError) throw new CliError(EXIT.unavailable, error.message, error);
    throw error;
  } finally {
    await disk?.close();
    await etcd.close();
  }
}

/** Under another prefix, as a directory would be renamed. */
async function retireEtcd(etcd: Coordination, { settings, report, to }: StoreMoveOptions): Promise<void> {
  const aside = `${settings.site}.before-${commandTo(to)}`;
  const former = openEtcd(settings, aside);
  try {
    await copyStore(etcd, former);
    await etcd.transact({ compare: [], apply: [{ deletePrefix: "" }] });
    report.step(`what was in etcd lies below /longshore/${aside}/ there`);
  } catch (error) {
    const hint = `delete /longshore/${settings.site}/ there before nodes of the site are started again`;
    report.warn(`the site is still in etcd, too (${messageOf(error)}): ${hint}`);
  } finally {
    await former.close();
  }
}

function putAside(directory: string, to: Mode): string {
  const aside = `${directory}.before-${commandTo(to)}`;
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
    return Buffer.from(text);
  };
  return createEtcdCoordination({
    endpoints,
    site,
    tls: { ca: read(tls.caFile), cert: read(tls.certificateFile), key: read(tls.keyFile) },
  });
}
