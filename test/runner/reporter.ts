import { inspect } from "node:util";

/**
 * A reporter for node:test that the runner loads into each test process: one JSON line per event. The runner reads
 * lines instead of TAP, because TAP can't say which tests are leaves, nor which one was running when a file hung.
 */

export type Line =
  | { readonly kind: "begun"; readonly name: string; readonly nesting: number }
  | {
      readonly kind: "ended";
      readonly name: string;
      readonly nesting: number;
      readonly suite: boolean;
      readonly passed: boolean;
      readonly durationMs: number;
      /** Why it was skipped or is still to do; an empty string where no reason was given. */
      readonly skip?: string;
      readonly todo?: string;
      /** Only for failures. */
      readonly error?: string;
      /** It failed because something inside it failed, which was reported already. */
      readonly byChildren?: boolean;
    }
  /** What a test reports by `t.diagnostic`: a figure that was measured, a seed. */
  | { readonly kind: "note"; readonly text: string }
  | { readonly kind: "finished" };

/** The part of node:test's events that is read here; its own types name more than Node 20 and 22 share. */
interface TestData {
  readonly name: string;
  readonly nesting: number;
  readonly skip?: string | boolean;
  readonly todo?: string | boolean;
  readonly details?: { readonly duration_ms?: number; readonly type?: string; readonly error?: unknown };
}

export interface RunnerEvent {
  readonly type: string;
  readonly data: unknown;
}

function describeError(error: unknown): { error: string; byChildren: boolean } {
  const wrapped = typeof error === "object" && error !== null ? error : {};
  const failureType = "failureType" in wrapped ? wrapped.failureType : undefined;
  // node:test wraps what was thrown; the wrapper's own stack says nothing.
  const cause = "cause" in wrapped && wrapped.cause !== undefined ? wrapped.cause : error;
  return {
    error: typeof cause === "string" ? cause : inspect(cause, { depth: 6, maxStringLength: 20_000 }),
    byChildren: failureType === "subtestsFailed",
  };
}

function reasonOf(value: string | boolean | undefined): string | undefined {
  if (value === undefined || value === false) return undefined;
  return value === true ? "" : value;
}

/** node:test ends each file with its own counts, in the same kind of event. */
const ownSummary = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

export function toLine(event: RunnerEvent): Line | undefined {
  if (event.type === "test:dequeue") {
    const { name, nesting } = event.data as TestData;
    return { kind: "begun", name, nesting };
  }
  if (event.type === "test:diagnostic") {
    const { message } = event.data as { readonly message: string };
    return ownSummary.test(message) ? undefined : { kind: "note", text: message };
  }
  if (event.type !== "test:pass" && event.type !== "test:fail") return undefined;
  const { name, nesting, details, ...marks } = event.data as TestData;
  const passed = event.type === "test:pass";
  const skip = reasonOf(marks.skip);
  const todo = reasonOf(marks.todo);
  return {
    kind: "ended",
    name,
    nesting,
    suite: details?.type === "suite",
    passed,
    durationMs: details?.duration_ms ?? 0,
    ...(skip !== undefined && { skip }),
    ...(todo !== undefined && { todo }),
    ...(!passed && describeError(details?.error)),
  };
}

export default async function* report(source: AsyncIterable<RunnerEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    const line = toLine(event);
    if (line !== undefined) yield `${JSON.stringify(line)}\n`;
  }
  const finished: Line = { kind: "finished" };
  yield `${JSON.stringify(finished)}\n`;
  // Node 20 now and then spins for ever in the clean-up behind its last turn (Environment::CleanupHandles, seen in gdb);
  // an explicit exit, once nothing is left to do and the report is written, doesn't go there.
  process.on("beforeExit", () => process.exit());
}
