/** Exhaustive search of a small world: breadth first, so that the first counterexample is a shortest one. */

export interface Model<State> {
  readonly initial: State;
  /** All that can happen next. Throws `Violation` where a step itself breaks a rule. */
  next(state: State): readonly Successor<State>[];
  /** Two states with one key are one state. */
  key(state: State): string;
  /** Throws `Violation` where the state breaks a rule. */
  check(state: State): void;
}

export interface Successor<State> {
  /** What happened, for the counterexample. */
  readonly label: string;
  /** Deferred, because a step that breaks a rule throws, and must be named all the same. */
  make(): State;
}

export class Violation extends Error {}

export interface Found {
  readonly states: number;
  readonly violation?: { readonly rule: string; readonly trace: readonly string[] };
}

export function search<State>(model: Model<State>, most = 3_000_000): Found {
  const seen = new Map<string, number>();
  const parents: number[] = [];
  const labels: string[] = [];
  const traceOf = (index: number, last: string): string[] => {
    const trace = [last];
    for (let at = index; at > 0; at = parents[at] ?? 0) trace.push(labels[at] ?? "");
    return trace.reverse();
  };

  let frontier: { state: State; index: number }[] = [];
  const add = (state: State, parent: number, label: string, into: typeof frontier) => {
    const key = model.key(state);
    if (seen.has(key)) return;
    model.check(state);
    const index = parents.length;
    seen.set(key, index);
    parents.push(parent);
    labels.push(label);
    into.push({ state, index });
  };

  add(model.initial, 0, "start", frontier);
  while (frontier.length > 0) {
    const next: typeof frontier = [];
    for (const { state, index } of frontier)
      for (const { label, make } of model.next(state)) {
        try {
          add(make(), index, label, next);
        } catch (error) {
          if (!(error instanceof Violation)) throw error;
          return { states: seen.size, violation: { rule: error.message, trace: traceOf(index, label) } };
        }
        // A model that has grown past what a test can search must be cut, not silently half searched.
        if (seen.size > most) throw new Error(`more than ${most} states`);
      }
    frontier = next;
  }
  return { states: seen.size };
}
