import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, succeeded } from "./run.js";

/** Why volumes can't be made here, or false. Mounting needs root and the right to mount (CAP_SYS_ADMIN). */
export async function cannotMount(): Promise<string | false> {
  if (process.getuid?.() !== 0) return "NOT TESTED: mounting a small volume needs root";
  const directory = mkdtempSync(join(tmpdir(), "longshore-mount-"));
  try {
    const tried = await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]);
    if (tried.code !== 0) return `NOT TESTED: root may not mount here: ${tried.stderr.trim()}`;
    succeeded(await run("umount", [directory]));
    return false;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * A site directory whose storage is a small volume of its own. The volume itself is mounted beside it and bound to its
 * place, so that it can go away and come back with all that is on it, as a network share does.
 */
export class Volume {
  private attached = true;

  private constructor(
    /** Give it to `startSite` as `dir`. */
    readonly directory: string,
    private readonly back: string,
  ) {}

  static async make(mebibytes: number): Promise<Volume> {
    const directory = mkdtempSync(join(tmpdir(), "longshore-volume-"));
    const volume = new Volume(join(directory, "site"), join(directory, "volume"));
    mkdirSync(volume.storage, { recursive: true });
    mkdirSync(volume.back);
    succeeded(await run("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", volume.back]));
    succeeded(await run("mount", ["--bind", volume.back, volume.storage]));
    return volume;
  }

  get storage(): string {
    return join(this.directory, "storage");
  }

  /** A path on the volume, whether it is in its place or not. */
  inside(...parts: readonly string[]): string {
    return join(this.back, ...parts);
  }

  /** Takes it away under the nodes' feet: what they hold open goes on, every path leads into the bare directory. */
  async detach(): Promise<void> {
    succeeded(await run("umount", ["--lazy", this.storage]));
    this.attached = false;
  }

  async attach(): Promise<void> {
    succeeded(await run("mount", ["--bind", this.back, this.storage]));
    this.attached = true;
  }

  /** False where something holds a file on it open for writing. */
  async setReadOnly(readOnly: boolean): Promise<boolean> {
    const options = `remount,bind,${readOnly ? "ro" : "rw"}`;
    return (await run("mount", ["-o", options, this.storage])).code === 0;
  }

  async destroy(): Promise<void> {
    if (this.attached) await run("umount", ["--lazy", this.storage]);
    await run("umount", ["--lazy", this.back]);
    rmSync(join(this.directory, ".."), { recursive: true, force: true });
  }
}
