import { randomUUID } from "node:crypto";
import { type Follower, follow } from "#config/follow.js";
import type { Coordination, Entry, Listing } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs, pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";

/**
 * Questions from one node to all others, through the store: `asks/<id>` and `answers/<id>/<node>`, all on the asker's short
 * lease, so that nothing is left of one that died. Nodes need no way to each other but the store, nor a secret besides it; and
 * what nobody asks for costs nothing, while published lists would cost at each session and transfer.
 */
export interface Exchange {
  start(): void;
  /** Idempotent. */
  stop(): void;
  /**
   * Asks every node that is up, this one included. `silent`: those that didn't answer in time (1.5 s). Throws
   * `StoreUnavailableError` where the question can't be asked and there are others to ask.
   */
  ask(
    question: Question,
  ): Promise<{ readonly answers: ReadonlyMap<string, unknown>; readonly silent: readonly string[] }>;
}

export interface Question {
  readonly kind: string;
  readonly argument?: string;
}

export interface ExchangeOptions {
  readonly coordination: Coordination;
  readonly nodeId: string;
  /** Ids of the nodes that are up. */
  readonly nodes: () => readonly string[];
  /** This node's answer, as JSON can hold it; undefined: it has none. Must be quick and bounded. */
  readonly answer: (question: Question) => unknown;
  readonly logger: Logger;
}

const PATIENCE_MS = 1_500;
const DEBOUNCE_MS = 10;
/** Of one answer; etcd takes a request of 1.5 MiB. */
const MOST_BYTES = 1_000_000;
const LEASE_MS = 5_000;
/** The same question within this time gets the same answers: a page that is looked at by many costs like one. */
const CACHE_MS = 300;

type Answers = Awaited<ReturnType<Exchange["ask"]>>;

export function createExchange(options: ExchangeOptions): Exchange {
  const { coordination, nodeId, logger } = options;
  const seen = new Set<string>();
  const asked = new Map<string, { readonly at: number; readonly answers: Promise<Answers> }>();
  let follower: Follower | undefined;

  const reply = async (entry: Entry): Promise<void> => {
    const id = entry.key.slice(keys.askPrefix.length);
    const question = decode(entry.value);
    if (question === undefined || question.from === nodeId || entry.lease === undefined) return;
    const value = JSON.stringify(options.answer(question) ?? null);
    const fits = value.length <= MOST_BYTES;
    const apply = [{ put: keys.answer(id, nodeId), value: fits ? value : "null", lease: entry.lease }];
    // Asked and gone: nobody waits for it any more.
    await coordination.transact({
      compare: [{ key: entry.key, is: "modified-at", revision: entry.modRevision }],
      apply,
    });
  };

  const onListing = (listing: Listing) => {
    const present = new Set(listing.entries.map(({ key }) => key));
    for (const key of seen) if (!present.has(key)) seen.delete(key);
    for (const entry of listing.entries) {
      if (seen.has(entry.key)) continue;
      seen.add(entry.key);
      reply(entry).catch((error: unknown) => logger.debug("a question wasn't answered", { error }));
    }
  };

  const askAll = async (question: Question): Promise<Answers> => {
    const answers = new Map<string, unknown>([[nodeId, options.answer(question) ?? null]]);
    const others = options.nodes().filter((id) => id !== nodeId);
    if (others.length === 0) return { answers, silent: [] };
    const lease = await coordination.lease({ ttlMs: LEASE_MS });
    const id = randomUUID();
    const done = new AbortController();
    const prefix = keys.answerPrefix(id);
    const listen = follow({
      coordination,
      prefix,
      debounceMs: DEBOUNCE_MS,
      onListing(listing) {
        for (const { key, value } of listing.entries) answers.set(key.slice(prefix.length), parse(value));
        if (others.every((other) => answers.has(other))) done.abort();
      },
    });
    try {
      const value = JSON.stringify({ ...question, from: nodeId });
      await coordination.transact({ compare: [], apply: [{ put: keys.ask(id), value, lease: lease.id }] });
      await pause(PATIENCE_MS, done.signal);
    } finally {
      listen.close();
      void lease.release();
    }
    return { answers, silent: others.filter((other) => !answers.has(other)) };
  };

  return {
    start() {
      follower ??= follow({ coordination, prefix: keys.askPrefix, debounceMs: DEBOUNCE_MS, onListing });
    },
    stop: () => follower?.close(),
    ask(question) {
      const key = JSON.stringify([question.kind, question.argument]);
      const before = asked.get(key);
      if (before !== undefined && monotonicMs() - before.at < CACHE_MS) return before.answers;
      for (const [old, { at }] of asked) if (monotonicMs() - at >= CACHE_MS) asked.delete(old);
      const answers = askAll(question);
      asked.set(key, { at: monotonicMs(), answers });
      return answers;
    },
  };
}

function decode(value: string): (Question & { readonly from: string }) | undefined {
  const found = parse(value) as { kind?: unknown; argument?: unknown; from?: unknown } | null;
  if (typeof found?.kind !== "string" || typeof found.from !== "string") return undefined;
  return {
    kind: found.kind,
    from: found.from,
    ...(typeof found.argument === "string" ? { argument: found.argument } : {}),
  };
}

function parse(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}
