/** What a benchmark is: files beside this one, registered in main.ts. Benchmarks print tables; nothing asserts a time. */

export interface BenchOptions {
  /** Bytes of the large file. */
  readonly size: number;
  /** Interleaved rounds. */
  readonly runs: number;
  /** Small files, logins and idle sessions. */
  readonly files: number;
  readonly logins: number;
  readonly sessions: number;
  /** A new directory on the medium to measure; removed at the end. */
  readonly directory: string;
  /** Only figures whose name holds one of these; empty: all. */
  readonly figures: readonly string[];
  readonly say: (text: string) => void;
}

/** A server under measurement, whoever wrote it. */
export interface Target {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly keyFile: string;
  /** Before each remote path: servers differ in what "/" is. */
  readonly root: string;
  /** Roots of the process trees that serve. Asked anew each time: pids change. */
  processes(): readonly number[];
  /** Those of them that only stand between or beside (balancer, store). */
  helpers(): readonly number[];
  stop(): Promise<void>;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** By target, one value per round; pairs of one round are compared with each other. */
  readonly values: Map<string, number[]>;
}

export interface BenchResult {
  readonly title: string;
  readonly notes: readonly string[];
  /** The first one is what the others are compared with. */
  readonly targets: readonly string[];
  readonly figures: readonly Figure[];
}

export type Bench = (options: BenchOptions) => Promise<BenchResult>;
