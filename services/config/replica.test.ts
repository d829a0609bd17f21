import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Entry, Listing } from "#coordination/contract.js";
import { Replica } from "./replica.js";

const KEYS = ["a", "b", "c", "d", "e"] as const;

/** A store of few keys, with all that a follower may be told of it. */
class Model {
  revision = 1;
  readonly entries = new Map<string, Entry>();

  change(key: string, put: boolean): void {
    this.revision += 1;
    if (!put) this.entries.delete(key);
    else this.entries.set(key, { key, value: `${this.revision}`, createRevision: 1, modRevision: this.revision });
  }

  listing(changedSince?: number): Listing {
    const all = [...this.entries.values()];
    if (changedSince === undefined) return { entries: all, revision: this.revision };
    const entries = all.filter(({ modRevision }) => modRevision > changedSince);
    return { entries, revision: this.revision, total: all.length };
  }
}

const byKey = (listing: Listing | undefined) =>
  listing?.entries.map(({ key, value }) => `${key}=${value}`).sort((a, b) => (a < b ? -1 : 1));

test("whatever is changed, told late or never told, a copy shows what is there or asks for everything", () => {
  const step = fc.record({
    key: fc.constantFrom(...KEYS),
    put: fc.boolean(),
    /** Now, only after the next listing, or never (a watch that is stuck tells nothing from there on). */
    told: fc.constantFrom("now", "late", "never"),
    list: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const model = new Model();
      const replica = new Replica();
      let late: { key: string; revision: number }[] = [];
      let stuck = false;
      for (const { key, put, told, list } of steps) {
        if (put || model.entries.has(key)) model.change(key, put);
        stuck ||= told === "never";
        // A watch tells in order: behind a late hint all are late.
        if (!stuck && told === "now" && late.length === 0) replica.hint([key], model.revision);
        else if (!stuck) late.push({ key, revision: model.revision });
        if (!list) continue;
        const since = replica.changedSince;
        const shown = since === undefined ? replica.replace(model.listing()) : replica.update(model.listing(since));
        if (shown === undefined) assert.equal(replica.changedSince, undefined);
        else assert.deepEqual(byKey(shown), byKey(model.listing()));
        for (const hint of late) replica.hint([hint.key], hint.revision);
        late = [];
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a deletion that was told costs no whole listing; one that wasn't does", () => {
  const model = new Model();
  for (const key of KEYS) model.change(key, true);
  const replica = new Replica();
  replica.replace(model.listing());
  model.change("b", false);
  replica.hint(["b"], model.revision);
  assert.deepEqual(byKey(replica.update(model.listing(replica.changedSince))), byKey(model.listing()));
  model.change("c", false);
  assert.equal(replica.update(model.listing(replica.changedSince)), undefined);
  assert.equal(replica.changedSince, undefined);
});
