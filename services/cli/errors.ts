/** What the process ends with; scripts rely on these, so a number never changes its meaning. */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** The command line was wrong. */
  usage: 2,
  /** No such account, node or site. */
  notFound: 3,
  /** The site refused the token, or the caller lacks a right. */
  denied: 4,
  /** No node could be asked. */
  unavailable: 5,
  /** Exists already, or somebody else changed it in between. */
  conflict: 6,
  /** A program is missing and can't be installed from here. */
  missingProgram: 7,
  portTaken: 8,
  alreadyRunning: 9,
  /** `doctor` found something that is to be mended. */
  unhealthy: 10,
  /** EX_CONFIG of sysexits.h: a container's settings or volumes are wrong, and a restart won't help. */
  settings: 78,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An error whose message alone is shown to the user: it says what happened and what to do. */
export class CliError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CliError";
    this.exitCode = exitCode;
  }
}

/** The text of anything caught. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof CliError ? error.exitCode : EXIT.failed;
}
