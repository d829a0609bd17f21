import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { z } from "zod";
import { systemCode } from "#lib/errors.js";
import { CliError, EXIT } from "../errors.js";

/** The Docker engine, through its own command: the only thing that a bundle asks of a machine. */

export interface EngineImage {
  readonly id: string;
  readonly bytes: number;
  /** `linux/amd64`. */
  readonly platform: string;
}

/** A service of the site's compose file. */
export interface ComposeService {
  readonly name: string;
  readonly image: string;
  /** Whether `docker compose build` makes its image. */
  readonly built: boolean;
  /** Where there are any, it runs only under one of them. */
  readonly profiles: readonly string[];
}

const KEPT_BYTES = 16 * 1024 * 1024;

/** Runs `docker` to its end. Returns what it printed. Throws a CliError with what it said. */
async function docker(args: readonly string[], where: Where = {}): Promise<string> {
  const running = start(args, where);
  const chunks: Buffer[] = [];
  let kept = 0;
  running.stdout.on("data", (chunk: Buffer) => {
    kept += chunk.length;
    if (kept <= KEPT_BYTES) chunks.push(chunk);
  });
  await running.done;
  return Buffer.concat(chunks).toString("utf8");
}

interface Where {
  readonly cwd?: string;
  /** Default: this process's. */
  readonly env?: NodeJS.ProcessEnv;
}

interface Running {
  readonly stdout: Readable;
  /** Rejects with a CliError where the command fails. */
  readonly done: Promise<void>;
  kill(): void;
}

function start(args: readonly string[], where: Where = {}): Running {
  const child = spawn("docker", args, { ...where, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = `${said}${text}`.slice(-4_000);
  });
  const done = new Promise<void>((resolve, reject) => {
    child.on("error", (error) => {
      const missing = systemCode(error) === "ENOENT";
      const why = missing ? "there is no `docker` command here: install Docker with its Compose plugin" : error.message;
      reject(new CliError(missing ? EXIT.missingProgram : EXIT.failed, why, error));
    });
    child.on("close", (code, signal) => {
      if (code === 0) return resolve();
      const last = said.trim().split("\n").at(-1) ?? "";
      reject(new CliError(EXIT.failed, `\`docker ${args[0]}\` ended with ${code ?? signal}: ${last}`));
    });
  });
  // It is awaited later, or the stream it feeds has failed already.
  done.catch(() => {});
  return { stdout: child.stdout, done, kill: () => child.kill() };
}

/** The engine's platform (`linux/amd64`). Throws where no engine answers. */
export async function enginePlatform(): Promise<string> {
  return (await docker(["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])).trim();
}

/** Undefined where the engine has no such image. */
export async function findImage(name: string): Promise<EngineImage | undefined> {
  // Without a tag the filter would find every tag.
  const reference = /[:@][^/]*$/.test(name) ? name : `${name}:latest`;
  const ids = await docker(["image", "ls", "--quiet", "--no-trunc", "--filter", `reference=${reference}`]);
  if (ids.trim() === "") return undefined;
  const [found] = z
    .array(z.looseObject({ Id: z.string(), Size: z.number(), Os: z.string(), Architecture: z.string() }))
    .parse(JSON.parse(await docker(["image", "inspect", reference])));
  return found && { id: found.Id, bytes: found.Size, platform: `${found.Os}/${found.Architecture}` };
}

/** The images as one tar archive, layers that they share once. */
export function saveImages(names: readonly string[]): Running {
  return start(["image", "save", ...names]);
}

export async function loadImages(file: string): Promise<void> {
  await docker(["image", "load", "--quiet", "--input", file]);
}

const composeSchema = z.looseObject({
  name: z.string(),
  services: z.record(
    z.string(),
    z.looseObject({
      image: z.string().optional(),
      build: z.unknown().optional(),
      profiles: z.array(z.string()).optional(),
    }),
  ),
});

/**
 * All services of the site in the directory, whatever their profiles. Settings come from its `.env` alone: this shell's own
 * won't be there where the bundle goes.
 */
export async function composeServices(directory: string): Promise<ComposeService[]> {
  const own = Object.entries(process.env).filter(([name]) => !/^(COMPOSE|LONGSHORE)_/.test(name));
  const where = { cwd: directory, env: Object.fromEntries(own) };
  const text = await docker(["compose", "--profile", "*", "config", "--format", "json"], where);
  const { name: project, services } = composeSchema.parse(JSON.parse(text));
  return Object.entries(services).map(([name, { image, build, profiles }]) => ({
    name,
    // What compose calls what it builds without a name.
    image: image ?? `${project}-${name}`,
    built: build !== undefined && build !== null,
    profiles: profiles ?? [],
  }));
}
