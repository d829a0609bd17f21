import { monotonicMs } from "#lib/clock.js";
import { sleep } from "../wait.js";

/** Signals that ask for an orderly stop. */
const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** npm passes the Ctrl-C on that its child got from the terminal already: so soon after the first it isn't a second one. */
const SAME_SIGNAL_MS = 500;
const LONG_MS = 3_600_000;

export interface Signals {
  /** Resolves with the first one. Until then it keeps the process alive, even if no child of it lives at the moment. */
  wait(): Promise<void>;
  /** Aborted by the first one. */
  readonly first: AbortSignal;
  /** Aborted by the second one: the user is in a hurry. */
  readonly second: AbortSignal;
}

/** From this call on, the process no longer ends at these signals by itself. */
export function untilSignalled(): Signals {
  const first = new AbortController();
  const second = new AbortController();
  let at = 0;
  const onSignal = () => {
    if (!first.signal.aborted) {
      at = monotonicMs();
      first.abort();
    } else if (monotonicMs() - at > SAME_SIGNAL_MS) second.abort();
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  const wait = async () => {
    while (!first.signal.aborted) await sleep(LONG_MS, first.signal);
  };
  return { wait, first: first.signal, second: second.signal };
}
