import { parseArgs } from "node:util";
import { isCode } from "#lib/errors.js";
import { createApp } from "./app.js";
import { EXIT_FAILED, EXIT_SETTINGS, StartupError } from "./errors.js";
import { readNodeSettings } from "./settings.js";

/** `longshore-node --config FILE`: runs one node until SIGTERM or SIGINT; a second signal cuts the drain short. */
async function main(): Promise<number> {
  const app = createApp(readSettings(configPath()));
  let drained: Promise<void> | undefined;
  const ended = new Promise<void>((resolve) => {
    const onSignal = () => {
      if (drained !== undefined) void app.stop();
      drained ??= app.drain().finally(resolve);
    };
    process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  });
  try {
    // A node that still waits for its store has nobody to drain: a signal ends it at once.
    await Promise.race([app.start(), ended]);
    await ended;
    return 0;
  } catch (error) {
    if (isCode(error, "closed")) return 0;
    throw error;
  } finally {
    await app.stop();
  }
}

function configPath(): string {
  const usage = "usage: longshore-node --config FILE";
  let file: string | undefined;
  try {
    file = parseArgs({ options: { config: { type: "string" } } }).values.config;
  } catch (error) {
    throw new StartupError(`${error instanceof Error ? error.message : error}; ${usage}`, EXIT_SETTINGS, error);
  }
  if (file === undefined) throw new StartupError(usage, EXIT_SETTINGS);
  return file;
}

function readSettings(path: string) {
  try {
    return readNodeSettings(path);
  } catch (error) {
    const faults = (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ");
    throw new StartupError(`--config: ${faults}`, EXIT_SETTINGS, error);
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  const known = error instanceof StartupError;
  // One line for a known cause; anything else is a fault of ours, and its stack is what helps.
  process.stderr.write(`longshore-node: ${known ? error.message : error instanceof Error ? error.stack : error}\n`);
  process.exitCode = known ? error.exitCode : EXIT_FAILED;
}
// Whatever handle is left (a client that doesn't hang up) must not keep a stopped node alive.
process.exit();
