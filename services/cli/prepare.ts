import { spawnSync } from "node:child_process";
import { chmodSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "./errors.js";
import { findProgram, installPackages, whyNotInstall } from "./up/packages.js";

/**
 * The last step of `npm ci`. ssh2 encrypts in native code, which its install script compiles; where it can't, the script
 * says nothing, ends with success, and every transfer is several times slower. So we look, mend it where we may (root on
 * Debian), and say so loudly where we can't. It never makes `npm ci` fail: all works without, only slower.
 */
const NATIVE = "ssh2/lib/protocol/crypto/build/Release/sshcrypto.node";
const load = createRequire(import.meta.url);

/** Whether ssh2's native crypto is built, for this very version of Node. */
export function hasNativeCrypto(): boolean {
  try {
    load(NATIVE);
    return true;
  } catch {
    return false;
  }
}

/** Where Node's own headers are (`<dir>/include/node`), if they fit: without them node-gyp downloads some. */
export function headersDirectory(node = realpathSync(process.execPath), version = process.version): string | undefined {
  const directory = dirname(dirname(node));
  try {
    const header = readFileSync(join(directory, "include/node/node_version.h"), "utf8");
    const part = (name: string) => new RegExp(`^#define NODE_${name}_VERSION (\\d+)`, "m").exec(header)?.[1];
    return `v${part("MAJOR")}.${part("MINOR")}.${part("PATCH")}` === version ? directory : undefined;
  } catch {
    return undefined;
  }
}

/** Debian packages that building needs and that aren't there. */
function missingPackages(): string[] {
  const tools = ["g++", "make"].every((tool) => findProgram(tool) !== undefined);
  return [
    ...(tools ? [] : ["build-essential"]),
    ...(findProgram("python3") === undefined ? ["python3"] : []),
    // Debian's own Node has its headers in a package apart; every other one brings them along.
    ...(headersDirectory() === undefined && process.execPath.startsWith("/usr/bin/") ? ["libnode-dev"] : []),
  ];
}

async function buildNativeCrypto(): Promise<void> {
  const packages = missingPackages();
  if (packages.length > 0) {
    const obstacle = process.env.LONGSHORE_NO_PACKAGES ? "LONGSHORE_NO_PACKAGES is set" : whyNotInstall();
    if (obstacle !== undefined) throw new Error(`it needs ${packages.join(", ")}, and ${obstacle}`);
    console.log(`longshore: installing Debian packages for ssh2's native crypto: ${packages.join(", ")}`);
    await installPackages(packages);
  }
  console.log("longshore: building ssh2's native crypto");
  let said = "";
  // Where the build of another optional package fails, npm takes away what both need (nan); its scripts aren't for us.
  if (!canResolve("nan")) said += npm("install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund");
  said += npm("rebuild", "ssh2", "--foreground-scripts");
  if (hasNativeCrypto()) return;
  const tail = said.trimEnd().split("\n").slice(-15).join("\n  ");
  throw new Error(`the build failed. Its end:\n  ${tail}`);
}

function canResolve(name: string): boolean {
  try {
    load.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** Runs the npm that runs us, in the checkout. Returns what it said. */
function npm(...args: string[]): string {
  const headers = headersDirectory();
  const script = process.env.npm_execpath;
  const [program, before] = script === undefined ? ["npm", []] : [process.execPath, [script]];
  const { stdout, stderr } = spawnSync(program, [...before, ...args], {
    cwd: fileURLToPath(new URL("../../../", import.meta.url)),
    env: { ...process.env, ...(headers === undefined ? {} : { npm_config_nodedir: headers }) },
    encoding: "utf8",
  });
  return `${stdout}${stderr}`;
}

async function main(): Promise<void> {
  // tsc writes plain files; npx and the shell want to run this one.
  chmodSync(new URL("main.js", import.meta.url), 0o755);
  if (hasNativeCrypto()) return;
  try {
    await buildNativeCrypto();
  } catch (error) {
    console.error(
      [
        "",
        `longshore: WARNING: ssh2's native crypto isn't built: ${messageOf(error)}`,
        "Longshore works without it, but SFTP will be several times slower. To mend it: as root",
        "  apt-get install --no-install-recommends build-essential python3",
        "and then, here:",
        "  npm rebuild ssh2",
        "",
      ].join("\n"),
    );
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
