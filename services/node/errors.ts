/** EX_CONFIG of sysexits.h: a restart won't help, somebody must change the settings. */
export const EXIT_SETTINGS = 78;
export const EXIT_FAILED = 1;

/** A node can't start. `message` is one line for an operator: what is wrong, which setting it is, and what to do. */
export class StartupError extends Error {
  constructor(
    message: string,
    readonly exitCode: number,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StartupError";
  }
}
