/** How a start tells what it does: one line per step, as it happens. */
export interface Report {
  /** A step that was done. */
  step(text: string): void;
  /** Something that the user should know of, though the start goes on. */
  warn(text: string): void;
}

/** Lines for a reader, with the time since the start. `write` takes whole lines. */
export function textReport(write: (line: string) => void, now: () => number): Report {
  const start = now();
  const seconds = () => ((now() - start) / 1000).toFixed(1).padStart(5);
  return {
    step: (text) => write(`${seconds()} s  ${text}\n`),
    warn: (text) => write(`${seconds()} s  note: ${text}\n`),
  };
}
