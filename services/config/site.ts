import { ZodError } from "zod";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { foundRevision } from "./accounts.js";
import { addressRulesFaults } from "./check.js";
import { faultsOf, InvalidConfigError, StaleRevisionError } from "./errors.js";
import type { ChangeNote } from "./history.js";
import { decodeValue, encodeValue, isNewerForm, NEWER_FORM } from "./kinds.js";
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
  put(site: unknown, expected: number, note?: ChangeNote): Promise<StoredSite>;
}

export function createSiteSettings(options: { readonly coordination: Coordination }): SiteSettings {
  const { coordination } = options;
  const get = async (): Promise<StoredSite & { readonly newer: boolean }> => {
    const entry = await coordination.get(keys.site);
    if (entry === undefined) throw new LongshoreError("not-found", "the site has no settings yet");
    try {
      const site = decodeValue("site", "", entry.value);
      if (site !== undefined) return { site, revision: entry.modRevision, newer: isNewerForm("site", entry.value) };
    } catch (error) {
      if (!(error instanceof ZodError)) throw new LongshoreError("io", "the site's settings can't be read", error);
      throw new InvalidConfigError("the site's settings aren't valid in the store", faultsOf(error));
    }
    throw new LongshoreError("io", "the site's settings can't be read");
  };
  return {
    async get() {
      const { site, revision } = await get();
      return { site, revision };
    },
    async put(input, expected, note) {
      const parsed = siteSchema.safeParse(input);
      if (!parsed.success) throw new InvalidConfigError("the settings aren't valid", faultsOf(parsed.error));
      const site = parsed.data;
      const before = await get();
      if (before.revision !== expected) throw new StaleRevisionError("the site's settings", before.revision);
      if (before.newer) throw new InvalidConfigError("the settings can't be written here", [NEWER_FORM]);
      if (site.id !== before.site.id) {
        throw new InvalidConfigError("the settings aren't valid", [{ path: "id", message: "can't be changed" }]);
      }
      const faults = addressRulesFaults(site.addressRules);
      if (faults.length > 0) throw new InvalidConfigError("the settings aren't valid", faults);
      const compare = [expectationOf(keys.site, expected)];
      const apply = [{ put: keys.site, value: encodeValue("site", site) }];
      const result = await writeConfig(coordination, compare, apply, note);
      if (!result.applied) throw new StaleRevisionError("the site's settings", foundRevision(result.found));
      return { site, revision: result.revision };
    },
  };
}
