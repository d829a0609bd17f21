import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ensurePackages } from "./packages.js";

/**
 * A wall clock that a test sets, for one real process: libfaketime is loaded into it and reads its offset from a file, so the
 * clock can also jump while the process runs. The monotonic clock and files' times stay true, as on a host whose NTP is wrong.
 */
export class WallClock {
  private constructor(
    private readonly file: string,
    /** For the process. */
    readonly env: Readonly<Record<string, string>>,
  ) {}

  /** `file` holds the offset; its directory is made. */
  static at(file: string, offsetSeconds: number): WallClock {
    mkdirSync(dirname(file), { recursive: true });
    const clock = new WallClock(file, {
      LD_PRELOAD: library(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_CACHE_DURATION: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
      NO_FAKE_STAT: "1",
      FAKETIME_DONT_RESET: "1",
    });
    clock.set(offsetSeconds);
    return clock;
  }

  /** In force within a second or two. */
  set(offsetSeconds: number): void {
    writeFileSync(this.file, `${offsetSeconds < 0 ? "-" : "+"}${Math.abs(offsetSeconds)}s\n`);
  }
}

/** Debian keeps it in the directory of the machine's architecture. */
function library(): string {
  ensurePackages({ faketime: "faketime" });
  const root = "/usr/lib";
  for (const directory of readdirSync(root)) {
    const folder = join(root, directory, "faketime");
    try {
      // The one for programs with threads.
      if (readdirSync(folder).includes("libfaketimeMT.so.1")) return join(folder, "libfaketimeMT.so.1");
    } catch {
      // Not this architecture's.
    }
  }
  throw new Error("the package faketime brings no libfaketimeMT.so.1");
}
