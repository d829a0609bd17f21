import type { FolderUsage, UsageView } from "#admin/usage.js";
import type { RunningConfigView } from "#config/view.js";
import type { QuotaMetrics } from "#observe/quota-metrics.js";
import { meteredPlaces } from "#quota/limits.js";
import type { Usages } from "#quota/usages.js";

/** What the node knows of folders with a quota, for operators and metrics. */
export function folderUsages(config: RunningConfigView, usages: Usages, metrics: QuotaMetrics): UsageView {
  const list = (): readonly FolderUsage[] => {
    if (!config.loaded()) return [];
    return [...meteredPlaces(config.snapshot())].map(([target, limitBytes]) => {
      const usage = usages.of(target);
      const counted = usage !== undefined && usage.counts > 0;
      return {
        target,
        limitBytes,
        usedBytes: counted ? usage.bytes : null,
        countedAt: usage?.countedAt === undefined ? null : new Date(usage.countedAt).toISOString(),
        exact: usage?.exact ?? false,
      };
    });
  };
  /** Of the places that are counted. */
  const figures = () =>
    list().flatMap(({ target, usedBytes, limitBytes }) =>
      usedBytes === null ? [] : [{ folder: target, usedBytes, limitBytes }],
    );
  metrics.attach(figures);
  return { list, askRecount: (target) => usages.askRecount(target) };
}
