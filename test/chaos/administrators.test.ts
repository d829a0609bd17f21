import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { report } from "../support/clients/run.js";
import { type KeyVersion, keyVersions } from "../support/etcd-history.js";
import { type Site, startSite } from "../support/site.js";

/**
 * P6: twenty administrators change the same and different entries through all nodes at once while nodes are killed with -9.
 * The checker reads every version that etcd ever held of these entries: no update is lost, none is applied twice, none by
 * half, each answer was true, and each change that was answered is on the audit record.
 */

const ADMINISTRATORS = 20;
/** Changes of the shared entry by each that must be acknowledged. */
const EACH = 4;
const KILLS = 6;
/** So many must have fallen into their work: they go on for it where they are faster than nodes come back. */
const LEAST_KILLS = 2;
const ASK_MS = 8_000;
const DONE_MS = 150_000;

interface Answer {
  /** 0: nobody answered, so nobody knows. */
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly etag: string;
}

describe("twenty administrators while nodes are killed", () => {
  let site: Site;
  const tokens: string[] = [];
  /** False at the end, also of a test that failed: nobody goes on asking then. */
  let working = true;

  before(async () => {
    site = await startSite();
    for (let id = 0; id < ADMINISTRATORS; id++) {
      await site.admin(`/api/v1/administrators/admin-${id}`, { method: "PUT", body: { role: "admin" } });
      const path = `/api/v1/administrators/admin-${id}/tokens`;
      const made = (await site.admin(path, { method: "POST", body: {} })) as { token: string; revision: number };
      tokens.push(made.token);
      if (id === ADMINISTRATORS - 1) await site.converged(made.revision);
    }
    await site.admin("/api/v1/groups/counter", { method: "PUT", body: { maxSessions: 1 } });
    await site.admin("/api/v1/config?prune=false", { method: "PUT", body: pair(1) });
  });
  after(async () => {
    working = false;
    await site?.stop();
  });

  const pair = (n: number) => ({ groups: { one: { maxSessions: n }, two: { maxSessions: n } } });

  async function ask(
    administrator: number,
    node: number,
    method: "GET" | "PUT",
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    try {
      const response = await fetch(new URL(path, site.node(node).adminUrl), {
        method,
        headers: {
          authorization: `Bearer ${tokens[administrator]}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(ASK_MS),
      });
      const text = await response.text();
      const etag = response.headers.get("etag") ?? "";
      return { status: response.status, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>), etag };
    } catch {
      return { status: 0, body: {}, etag: "" };
    }
  }

  test("no update is lost, doubled or half, each answer is true, and each is on the record", {
    timeout: 300_000,
  }, async () => {
    /** What was acknowledged of the shared entry: its new value, by the revision that made it. */
    const acknowledged = new Map<number, number>();
    let unknown = 0;
    let refused = 0;
    let created = 0;
    let changed = 0;
    let killed = 0;
    const own = new Map<number, { told: string[]; unanswered: Set<string> }>();

    const increment = async (id: number, node: number): Promise<boolean> => {
      const read = await ask(id, node, "GET", "/api/v1/groups/counter");
      if (read.status !== 200) return false;
      const maxSessions = Number(read.body.maxSessions) + 1;
      const headers = { "if-match": read.etag, "idempotency-key": randomUUID() };
      // An answer that was lost is asked for again, elsewhere: the key makes that harmless.
      for (let tries = 0; ; tries++) {
        const at = (node + tries) % 3;
        const answer = await ask(id, at, "PUT", "/api/v1/groups/counter", { maxSessions }, headers);
        if (answer.status === 200) {
          const revision = Number(answer.etag.replaceAll('"', ""));
          assert.equal(acknowledged.has(revision), false, "two were told that they made one revision");
          acknowledged.set(revision, maxSessions);
          return true;
        }
        if (answer.status === 412) {
          refused++;
          return false;
        }
        if (answer.status !== 0 && answer.status !== 409 && answer.status !== 503)
          throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`);
        if (answer.status === 0) unknown++;
        if (tries >= 40) return false;
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
    };

    const changeOwn = async (id: number, node: number, turn: number): Promise<void> => {
      const description = `${id}/${turn}`;
      const state = own.get(id) ?? { told: [], unanswered: new Set() };
      own.set(id, state);
      const answer = await ask(id, node, "PUT", `/api/v1/accounts/own-${id}`, { description });
      if (answer.status === 200 || answer.status === 201) state.told.push(description);
      // It may have been made, or be made yet, also after a later one: whoever was told nothing knows nothing.
      else state.unanswered.add(description);
    };

    let turns = 0;
    const administrator = async (id: number): Promise<void> => {
      for (let turn = 0, done = 0; working && (done < EACH || killed < LEAST_KILLS); turn++) {
        turns = Math.max(turns, turn + 1);
        const node = (id + turn) % 3;
        if (await increment(id, node)) {
          done++;
          changed++;
        }
        await changeOwn(id, node, turn);
        if (id % 4 === 0) await ask(id, node, "PUT", "/api/v1/config?prune=false", pair(2 + id * 100 + turn));
        const race = await ask(id, node, "PUT", `/api/v1/groups/race-${turn}`, {}, { "if-none-match": "*" });
        if (race.status === 201) created++;
      }
    };

    const kills = async (): Promise<void> => {
      for (; working && killed < KILLS; killed++) {
        const before = site.killNode(killed % 3);
        await site.nodeReady(killed % 3, before, 60_000);
      }
    };
    const begun = performance.now();
    const administrators = Array.from({ length: ADMINISTRATORS }, (_, id) => administrator(id));
    const done = Promise.all(administrators).finally(() => {
      working = false;
    });
    await Promise.all([done, kills()]);
    const tookMs = performance.now() - begun;
    assert.ok(tookMs < DONE_MS, `it took ${Math.round(tookMs)} ms`);

    const endpoint = site.endpoints().etcd?.endpoints[0] ?? "";
    const versions = (name: string) => keyVersions(endpoint, `/longshore/local/config/${name}`);
    const maxSessionsOf = ({ value }: KeyVersion) => (JSON.parse(value) as { maxSessions?: number }).maxSessions ?? 0;

    const counter = await versions("groups/counter");
    assert.deepEqual(
      counter.map(maxSessionsOf),
      counter.map((_, index) => index + 1),
      "each update replaced the one before it",
    );
    const byRevision = new Map(counter.map((version) => [version.modRevision, maxSessionsOf(version)]));
    for (const [revision, value] of acknowledged)
      assert.equal(byRevision.get(revision), value, `revision ${revision} was acknowledged with ${value}`);
    assert.equal(acknowledged.size, changed);
    assert.ok(changed >= ADMINISTRATORS * EACH);
    assert.ok(counter.length - 1 >= acknowledged.size);

    const [one, two] = [await versions("groups/one"), await versions("groups/two")];
    assert.deepEqual(
      one.map((version) => [version.modRevision, maxSessionsOf(version)]),
      two.map((version) => [version.modRevision, maxSessionsOf(version)]),
      "both entries of a document change in one revision, to one value",
    );
    for (const [id, { told, unanswered }] of own) {
      const held = (await versions(`accounts/own-${id}`)).map(
        ({ value }) => (JSON.parse(value) as { description?: string }).description ?? "",
      );
      for (const each of told) assert.ok(held.includes(each), `own-${id} never held ${each}, which was told`);
      for (const later of held.slice(held.lastIndexOf(told.at(-1) ?? "") + 1))
        assert.ok(unanswered.has(later), `own-${id} came to hold ${later} after ${told.at(-1)}`);
    }
    let races = 0;
    for (let turn = 0; turn < turns; turn++) {
      const race = await versions(`groups/race-${turn}`);
      // None where all who came to this turn asked a node that was being killed.
      assert.ok(race.length <= 1, `race-${turn} was made ${race.length} times`);
      races += race.length;
    }
    assert.ok(created <= races, `${created} were told that they made one of ${races}`);

    await until(
      "each acknowledged change is on the record",
      async () => {
        const { records } = (await site.admin("/api/v1/audit?kind=admin&path=/api/v1/groups/counter&limit=1000")) as {
          records: { outcome: string; details?: { revision?: string } }[];
        };
        const recorded = new Set(
          records.filter(({ outcome }) => outcome === "ok").map(({ details }) => details?.revision),
        );
        const missing = [...acknowledged.keys()].filter((revision) => !recorded.has(String(revision)));
        if (missing.length > 0) throw new Error(`not on the record: ${missing.join(", ")}`);
        return true;
      },
      { deadlineMs: 30_000, everyMs: 500 },
    );
    report(
      `${ADMINISTRATORS} administrators, ${killed} kills, ${(tookMs / 1_000).toFixed(0)} s: ${acknowledged.size} acknowledged ` +
        `changes of one entry in ${counter.length - 1} revisions, ${refused} refused as stale, ${unknown} answers lost`,
    );
  });
});
