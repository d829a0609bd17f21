/** Names and numbers of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it (PROTOCOL, section 4). */

export const VERSION = 3;

export const PacketType = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  RMDIR: 15,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const;

/** Version 3 knows no more than these; clients translate others to "unknown error" at best. */
export const Status = {
  OK: 0,
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  OP_UNSUPPORTED: 8,
} as const;
export type StatusCode = (typeof Status)[keyof typeof Status];

export const OpenFlag = { READ: 1, WRITE: 2, APPEND: 4, CREAT: 8, TRUNC: 16, EXCL: 32 } as const;

export const AttributeFlag = { SIZE: 1, UIDGID: 2, PERMISSIONS: 4, ACMODTIME: 8, EXTENDED: 0x8000_0000 } as const;

/** `limits@openssh.com`: what OpenSSH's own server answers, so that its client asks for 255 KiB at a time (speed.md, 1). */
export const LIMITS = { packet: 262_144, read: 261_120, write: 261_120 } as const;

/**
 * The longest packet that is taken, without its length field. Some clients write 256 KiB whatever `limits` says, and a
 * WRITE of that size has a header besides (277 bytes with the longest handle).
 */
export const MAX_PACKET = LIMITS.packet + 512;

/** Past PATH_MAX nothing can exist anyway. */
export const MAX_PATH = 4_096;

/** The VERSION reply's extensions, with the version of each. */
export const EXTENSIONS: ReadonlyArray<readonly [name: string, version: string]> = [
  ["limits@openssh.com", "1"],
  ["posix-rename@openssh.com", "1"],
  ["hardlink@openssh.com", "1"],
  ["fsync@openssh.com", "1"],
  ["statvfs@openssh.com", "2"],
  ["fstatvfs@openssh.com", "2"],
  ["lsetstat@openssh.com", "1"],
  ["expand-path@openssh.com", "1"],
  ["copy-data", "1"],
  ["home-directory", "1"],
  ["users-groups-by-id@openssh.com", "1"],
];
