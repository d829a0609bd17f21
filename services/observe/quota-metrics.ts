import { Counter, Gauge, type Registry } from "prom-client";

/** A place in the storage that has a quota. */
export interface FolderFigures {
  /** Relative to the storage root. */
  readonly folder: string;
  readonly usedBytes: number;
  readonly limitBytes: number;
}

/** Of folders with a quota: the only label by a path, and so bounded by number. */
export interface QuotaMetrics {
  attach(folders: () => readonly FolderFigures[]): void;
  refused(): void;
}

/** The fullest ones are shown. */
const MOST_FOLDERS = 200;

export function createQuotaMetrics(registers: Registry[]): QuotaMetrics {
  let folders: (() => readonly FolderFigures[]) | undefined;
  const shown = () =>
    (folders?.() ?? []).toSorted((one, other) => fullness(other) - fullness(one)).slice(0, MOST_FOLDERS);
  const live = (name: string, help: string, read: (folder: FolderFigures) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ["folder"],
      registers,
      collect() {
        this.reset();
        for (const each of shown()) this.set({ folder: each.folder }, read(each));
      },
    });
  live("longshore_folder_used_bytes", "Bytes in a folder with a quota.", ({ usedBytes }) => usedBytes);
  live("longshore_folder_limit_bytes", "The folder's quota, the smallest of it.", ({ limitBytes }) => limitBytes);
  const refusals = new Counter({
    name: "longshore_quota_refusals_total",
    help: "Uploads and renames refused by a quota.",
    registers,
  });
  return {
    attach(read) {
      folders = read;
    },
    refused: () => refusals.inc(),
  };
}

function fullness({ usedBytes, limitBytes }: FolderFigures): number {
  return usedBytes / Math.max(1, limitBytes);
}
