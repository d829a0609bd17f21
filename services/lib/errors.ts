/**
 * What went wrong, in words that every protocol can translate. One table per protocol maps these codes to its own
 * statuses (SFTP: protocols/sftp/status.ts).
 */
export const ERROR_CODES = [
  "not-found",
  "exists",
  "permission-denied",
  "not-a-directory",
  "is-a-directory",
  "not-empty",
  "invalid-argument",
  "name-too-long",
  "unsupported",
  "no-space",
  "quota-exceeded",
  "read-only",
  "incomplete-upload",
  "busy",
  "superseded",
  "cut-off",
  "outcome-unknown",
  "unavailable",
  "limit",
  "closed",
  "io",
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** The base of all errors that we throw on purpose. `message` says what happened and, where there is a way, what to do. */
export class LongshoreError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "LongshoreError";
    this.code = code;
  }
}

const FROM_SYSTEM: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "not-found",
  ENOTDIR: "not-found",
  ELOOP: "not-found",
  EEXIST: "exists",
  EISDIR: "is-a-directory",
  ENOTEMPTY: "not-empty",
  EPERM: "permission-denied",
  EACCES: "permission-denied",
  EINVAL: "invalid-argument",
  ENAMETOOLONG: "name-too-long",
  ENOSPC: "no-space",
  EDQUOT: "no-space",
  EFBIG: "no-space",
  EROFS: "read-only",
  EXDEV: "unsupported",
  ENOTSUP: "unsupported",
  EMFILE: "limit",
  ENFILE: "limit",
};

/** The system error code (`ENOENT`, ...) of something caught, or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : undefined;
}

/** Makes a LongshoreError of anything caught; a LongshoreError passes through. Paths of the server never reach `message`. */
export function asLongshoreError(error: unknown, what: string): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const code = systemCode(error);
  const known = code === undefined ? undefined : FROM_SYSTEM[code];
  return new LongshoreError(known ?? "io", code === undefined ? what : `${what}: ${code}`, error);
}

export function isCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof LongshoreError && error.code === code;
}
