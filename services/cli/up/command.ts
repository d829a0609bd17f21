import { monotonicMs } from "#lib/clock.js";
import { CliError, EXIT, type ExitCode } from "../errors.js";
import { siteLayout } from "../layout.js";
import type { UpOptions } from "./options.js";
import { downHint, panel } from "./panel.js";
import { decideSite } from "./plan.js";
import { findPrograms } from "./programs.js";
import { textReport } from "./report.js";
import { untilSignalled } from "./signals.js";
import { startSite } from "./site.js";
import { readSiteFile } from "./site-file.js";
import { startInBackground } from "./supervisor.js";
import { stopSite } from "./sweep.js";

export type UpOutput = "foreground" | "background" | "json";

/** `longshore up`. Progress goes to stderr, so that stdout is the panel, or the JSON alone. Returns the exit code. */
export async function up(options: UpOptions, output: UpOutput): Promise<ExitCode> {
  if (process.platform !== "linux") throw new CliError(EXIT.failed, "`longshore up` runs on Linux only");
  const report = textReport((line) => process.stderr.write(line), monotonicMs);
  const { mode } = decideSite(options, readSiteFile(siteLayout(options.directory)));
  const programs = mode === "standalone" ? undefined : await findPrograms(options.prometheus, report);
  const signals = untilSignalled();
  if (output !== "foreground") {
    const endpoints = await startInBackground(options, programs, report, signals.first);
    process.stdout.write(
      output === "json" ? `${JSON.stringify(endpoints, null, 2)}\n` : panel(endpoints, downHint(endpoints.directory)),
    );
    return EXIT.ok;
  }
  const site = await startSite(options, programs, report, signals.first);
  process.stdout.write(panel(site.endpoints, "Ctrl-C stops it; accounts and files stay for the next start."));
  await signals.wait();
  process.stderr.write("\n");
  await site.stop(signals.second);
  return EXIT.ok;
}

/** `longshore down`. Stopping what doesn't run is no error. */
export async function down(directory: string): Promise<ExitCode> {
  const stopped = await stopSite(siteLayout(directory));
  process.stdout.write(
    stopped.length === 0 ? `no site is running in ${directory}\n` : `stopped ${stopped.join(", ")} of ${directory}\n`,
  );
  return EXIT.ok;
}
