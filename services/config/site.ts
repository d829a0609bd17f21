import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { foundRevision } from "./accounts.js";
import { faultsOf, InvalidConfigError, StaleRevisionError } from "./errors.js";
import { type Site, siteSchema } from "./schema.js";
import { expectationOf, writeConfig } from "./write.js";

export interface StoredSite {
  readonly site: Site;
  readonly revision: number;
}

/** The site's settings in the store. */
export interface SiteSettings {
  /** Throws `StoreUnavailableError`; code `not-found` before a first node made them. */
  get(): Promise<StoredSite>;
  /**
   * Replaces them, if they are still at `expected`. The site's id can't be changed: the storage carries it, too. Throws
   * `InvalidConfigError`, `StaleRevisionError`, `StoreUnavailableError`, `OutcomeUnknownError` (read again to see).
   */
  put(site: unknown, expected: number): Promise<StoredSite>;
}

export function createSiteSettings(options: { readonly coordination: Coordination }): SiteSettings {
  const { coordination } = options;
  const get = async (): Promise<StoredSite> => {
    const entry = await coordination.get(keys.site);
    if (entry === undefined) throw new LongshoreError("not-found", "the site has no settings yet");
    const parsed = siteSchema.safeParse(JSON.parse(entry.value));
    if (!parsed.success)
      throw new InvalidConfigError("the site's settings aren't valid in the store", faultsOf(parsed.error));
    return { site: parsed.data, revision: entry.modRevision };
  };
  return {
    get,
    async put(input, expected) {
      const parsed = siteSchema.safeParse(input);
      if (!parsed.success) throw new InvalidConfigError("the settings aren't valid", faultsOf(parsed.error));
      const site = parsed.data;
      const before = await get();
      if (before.revision !== expected) throw new StaleRevisionError("the site's settings", before.revision);
      if (site.id !== before.site.id) {
        throw new InvalidConfigError("the settings aren't valid", [{ path: "id", message: "can't be changed" }]);
      }
      const compare = [expectationOf(keys.site, expected)];
      const result = await writeConfig(coordination, compare, [{ put: keys.site, value: JSON.stringify(site) }]);
      if (!result.applied) throw new StaleRevisionError("the site's settings", foundRevision(result.found));
      return { site, revision: result.revision };
    },
  };
}
