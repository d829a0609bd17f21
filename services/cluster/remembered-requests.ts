import { z } from "zod";
import type { Coordination } from "#coordination/contract.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";

/** What a request was answered with; `body` is absent where it isn't kept (a secret, or too large). */
const answerSchema = z.object({ status: z.int(), etag: z.string().optional(), body: z.string().optional() });
export type RememberedAnswer = z.infer<typeof answerSchema>;

/** `idempotency/<id>`. Not strict: a newer node may say more. */
const recordSchema = z.object({
  /** A keyed hash of the request: the same id with another one is a mistake of the client's. */
  request: z.string(),
  /** Wall clock when it was done, milliseconds since 1970; absent while it is under way. */
  doneAt: z.number().optional(),
  answer: answerSchema.optional(),
});

export type Beginning =
  /** Nobody has made this request: do it, then call `finish` with its answer, or with undefined to forget it. */
  | { readonly kind: "new"; finish(answer: RememberedAnswer | undefined): Promise<void> }
  | { readonly kind: "done"; readonly answer: RememberedAnswer }
  | { readonly kind: "under-way" }
  | { readonly kind: "other-request" };

export interface RememberedRequests {
  /**
   * Begins a request under an id, on whichever node. Throws `StoreUnavailableError` (nothing was begun), or `LongshoreError`
   * `busy` where too many are remembered already.
   */
  begin(id: string, request: string): Promise<Beginning>;
}

const REMEMBERED_MS = 24 * 3_600_000;
/** With `MAX_BODY` this bounds what they take of the store: 40 MB. */
const MAX_RECORDS = 5_000;
export const MAX_BODY = 8_192;
const SWEEP_EVERY_MS = 15 * 60_000;
const SWEEP_PAGE = 200;

/**
 * Requests that were made under an idempotency key, for 24 hours. While one is under way its record hangs on a lease of
 * its own: if its node dies, the record goes with it and the client may repeat. Once done, the record has an end by the
 * clock and no lease, so that it survives the restart of a standalone node, too.
 */
export function createRememberedRequests(options: {
  readonly coordination: Coordination;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}): RememberedRequests {
  const { coordination, now = Date.now } = options;
  let count = 0;
  let sweptAt = Number.NEGATIVE_INFINITY;

  const sweep = async () => {
    sweptAt = monotonicMs();
    let found = 0;
    let after: string | undefined;
    for (;;) {
      const page = { limit: SWEEP_PAGE, ...(after === undefined ? {} : { after }) };
      const { entries } = await coordination.list(keys.idempotencyPrefix, page);
      for (const { key, value, modRevision } of entries) {
        const record = decode(value);
        const over = record === undefined || (record.doneAt !== undefined && now() - record.doneAt > REMEMBERED_MS);
        if (!over) found++;
        else
          await coordination.transact({
            compare: [{ key, is: "modified-at", revision: modRevision }],
            apply: [{ delete: key }],
          });
      }
      after = entries.at(-1)?.key;
      if (entries.length < SWEEP_PAGE || after === undefined) break;
    }
    count = found;
  };

  return {
    async begin(id, request) {
      if (monotonicMs() - sweptAt > SWEEP_EVERY_MS || count >= MAX_RECORDS) await sweep();
      if (count >= MAX_RECORDS) {
        throw new LongshoreError(
          "busy",
          "too many idempotency keys of the last 24 hours: send this one without, or later",
        );
      }
      const key = keys.idempotency(id);
      const lease = await coordination.lease();
      try {
        const result = await coordination.transact({
          compare: [{ key, is: "absent" }],
          apply: [{ put: key, value: JSON.stringify({ request }), lease: lease.id }],
        });
        if (!result.applied) {
          await lease.release();
          return known(result.found[0]?.[0]?.value, request);
        }
        count++;
        const { revision } = result;
        return {
          kind: "new",
          async finish(answer) {
            try {
              if (answer === undefined) return;
              const value = JSON.stringify({ request, doneAt: now(), answer });
              const compare = [{ key, is: "modified-at" as const, revision }];
              await coordination.transact({ compare, apply: [{ put: key, value }] });
            } finally {
              // Ends the record, unless it has been put without the lease just now.
              await lease.release();
            }
          },
        };
      } catch (error) {
        await lease.release();
        // Whether the record was made or not: it goes with its lease, and nothing else was done.
        throw new StoreUnavailableError("the idempotency key can't be remembered now: nothing was changed", error);
      }
    },
  };
}

function known(value: string | undefined, request: string): Beginning {
  const record = value === undefined ? undefined : decode(value);
  // Gone again, or not readable: whoever repeats in a moment finds it settled.
  if (record === undefined) return { kind: "under-way" };
  if (record.request !== request) return { kind: "other-request" };
  return record.answer === undefined ? { kind: "under-way" } : { kind: "done", answer: record.answer };
}

function decode(value: string): z.infer<typeof recordSchema> | undefined {
  try {
    return recordSchema.safeParse(JSON.parse(value)).data;
  } catch {
    return undefined;
  }
}
