import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { type Endpoints, endpointsSchema } from "../endpoints.js";
import { CliError, EXIT, type ExitCode, exitCodeOf, messageOf } from "../errors.js";
import { makePrivateDirectory } from "../files.js";
import { siteLayout } from "../layout.js";
import { rotateLog } from "./logs.js";
import { type UpOptions, upOptionsSchema } from "./options.js";
import type { Programs } from "./processes.js";
import type { Report } from "./report.js";
import { untilSignalled } from "./signals.js";
import { startSite } from "./site.js";

/** The hidden command that the background supervisor runs as. */
export const SUPERVISE_COMMAND = "supervise";

const MAIN = fileURLToPath(new URL("../main.js", import.meta.url));

/** What the background supervisor is told, by the process that starts it. */
const orderSchema = z.strictObject({
  options: upOptionsSchema,
  programs: z
    .strictObject({ etcd: z.string(), haproxy: z.string(), prometheus: z.string().exactOptional() })
    .optional(),
});

/** What it tells back, until the site is up or has failed. */
const newsSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("step"), text: z.string() }),
  z.strictObject({ kind: z.literal("warn"), text: z.string() }),
  z.strictObject({ kind: z.literal("ready"), endpoints: endpointsSchema }),
  z.strictObject({ kind: z.literal("failed"), message: z.string(), exitCode: z.int() }),
]);
type News = z.infer<typeof newsSchema>;

/**
 * Starts the site under a supervisor in the background and returns when it is ready. When it fails, nothing is left
 * running; neither is it when `signal` aborts or this process dies in between, for then nobody knows of the site.
 */
export async function startInBackground(
  options: UpOptions,
  programs: Programs | undefined,
  report: Report,
  signal: AbortSignal,
): Promise<Endpoints> {
  const layout = siteLayout(options.directory);
  makePrivateDirectory(layout.root);
  makePrivateDirectory(layout.logs);
  const logFile = layout.log("supervisor");
  rotateLog(logFile);
  const log = openSync(logFile, "a", 0o600);
  const child = spawn(process.execPath, [MAIN, SUPERVISE_COMMAND], {
    cwd: layout.root,
    detached: true,
    stdio: ["ignore", log, log, "ipc"],
  });
  closeSync(log);
  const abort = () => child.kill("SIGTERM");
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await new Promise<Endpoints>((resolve, reject) => {
      let failure: CliError | undefined;
      child.once("error", reject);
      // Only its end is the end: until then something that it started may still run.
      child.once("exit", (code, killed) => {
        const how = killed ?? `exit code ${code}`;
        reject(failure ?? new CliError(EXIT.failed, `the supervisor ended (${how}): see ${logFile}`));
      });
      child.on("message", (message) => {
        const news = newsSchema.parse(message);
        if (news.kind === "step") report.step(news.text);
        else if (news.kind === "warn") report.warn(news.text);
        else if (news.kind === "ready") resolve(news.endpoints);
        else failure = new CliError(news.exitCode as ExitCode, news.message);
      });
      child.send(orderSchema.parse({ options, programs }));
    });
  } finally {
    signal.removeEventListener("abort", abort);
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** The background supervisor: starts the site, says so, and keeps it until it is told to stop. Returns the exit code. */
export async function supervise(): Promise<ExitCode> {
  if (process.send === undefined) throw new CliError(EXIT.usage, "use `longshore up --detach`");
  const starterGone = new AbortController();
  const onDisconnect = () => starterGone.abort();
  process.once("disconnect", onDisconnect);
  const signals = untilSignalled();
  const tell = (news: News) => {
    const written = news.kind === "ready" ? { kind: news.kind } : news;
    console.log(JSON.stringify({ time: new Date().toISOString(), ...written }));
    if (process.connected) process.send?.(news);
  };
  const report: Report = { step: (text) => tell({ kind: "step", text }), warn: (text) => tell({ kind: "warn", text }) };
  try {
    const { options, programs } = orderSchema.parse(await firstMessage());
    const start = AbortSignal.any([starterGone.signal, signals.first]);
    const site = await startSite(options, programs, report, start);
    process.removeListener("disconnect", onDisconnect);
    tell({ kind: "ready", endpoints: site.endpoints });
    await signals.wait();
    await site.stop(signals.second);
    return EXIT.ok;
  } catch (error) {
    const exitCode = exitCodeOf(error);
    tell({ kind: "failed", message: messageOf(error), exitCode });
    return exitCode;
  } finally {
    if (process.connected) process.disconnect();
  }
}

function firstMessage(): Promise<unknown> {
  return new Promise((resolve) => process.once("message", resolve));
}
