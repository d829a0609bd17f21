/** What test/support/engine.ts does, decided: pure, so that it can be tested on a machine that has an engine already. */

export interface Mirrors {
  /** Of Debian's archive. */
  readonly main: string;
  /** Of its security updates; some machines have none. */
  readonly security?: string;
}

/** From the sites that apt is configured with, one a line. Throws where none is a mirror of Debian. */
export function parseMirrors(sites: string): Mirrors {
  const all = sites.split("\n").map((line) => line.trim().replace(/\/+$/, ""));
  const main = all.find((site) => site.endsWith("/debian"));
  const security = all.find((site) => site.endsWith("debian-security"));
  if (main === undefined) throw new Error("apt is configured with no mirror of Debian (a source that ends in /debian)");
  return { main, ...(security === undefined ? {} : { security }) };
}

export function pluginSources(suite: string, { main }: Mirrors): string {
  return `deb ${main} ${suite} main\n`;
}

export function baseImageTag(suite: string): string {
  return `debian:${suite}-slim`;
}

/** What makes a fresh debootstrap a slim image. Paths are relative to its root. */
export interface SlimFiles {
  /** Directories whose content goes. */
  readonly emptied: readonly string[];
  /** Files that go, by their directory and the end of their name. */
  readonly removed: readonly { readonly directory: string; readonly ending: string }[];
  /** Files by their path. */
  readonly written: Readonly<Record<string, string>>;
}

export function slimFiles(suite: string, { main, security }: Mirrors): SlimFiles {
  const share = ["doc", "man", "info", "locale"].map((name) => `usr/share/${name}`);
  const sources = [
    `deb ${main} ${suite} main`,
    `deb ${main} ${suite}-updates main`,
    ...(security === undefined ? [] : [`deb ${security} ${suite}-security main`]),
  ];
  return {
    emptied: [...share, "var/lib/apt/lists", "etc/apt/sources.list.d"],
    removed: [
      { directory: "var/cache/apt", ending: ".bin" },
      { directory: "var/cache/apt/archives", ending: ".deb" },
      { directory: "var/cache/debconf", ending: "-old" },
      { directory: "var/log", ending: ".log" },
    ],
    written: {
      "etc/apt/sources.list": `${sources.join("\n")}\n`,
      "etc/apt/apt.conf.d/docker-slim": 'Acquire::Languages "none";\nAcquire::GzipIndexes "true";\n',
      // For what is installed later, in builds.
      "etc/dpkg/dpkg.cfg.d/docker-slim": share.map((path) => `path-exclude=/${path}/*\n`).join(""),
    },
  };
}

/**
 * Whether a pid file is left over from an engine that crashed. `commandOf` gives the name of the process with this id, or
 * undefined where there is none; another program may have got the id since.
 */
export function staleEngine(pidFile: string, commandOf: (pid: number) => string | undefined): boolean {
  const pid = Number(pidFile.trim());
  if (!Number.isInteger(pid) || pid <= 0) return true;
  return !/^(dockerd|containerd)/.test(commandOf(pid) ?? "");
}
