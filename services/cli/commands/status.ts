import { type Command, InvalidArgumentError } from "commander";
import { type AdminAccess, askAdmin } from "../admin-client.js";
import { messageOf } from "../errors.js";
import { json } from "../output.js";
import { adminAccess } from "../site-access.js";
import { type SiteStatus, statusSchema, statusScreen } from "../status-screen.js";
import { sleep } from "../wait.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

interface StatusOptions extends ClientOptions {
  readonly watch?: number | true;
}

const DEFAULT_SECONDS = 2;

export function addStatusCommand(program: Command): void {
  withSite(program.command("status").description("how the site is: nodes, sessions, configuration, faults"))
    .option(
      "-w, --watch [seconds]",
      `show it again and again until Ctrl-C (default: each ${DEFAULT_SECONDS} s)`,
      seconds,
    )
    .action(status);
}

async function status(options: StatusOptions): Promise<void> {
  const access = adminAccess(options);
  if (options.watch !== undefined) {
    await watch(access, options, options.watch === true ? DEFAULT_SECONDS : options.watch);
    return;
  }
  const answer = await read(access);
  process.stdout.write(options.output === "json" ? json(answer) : statusScreen(answer));
}

async function watch(access: AdminAccess, options: StatusOptions, every: number): Promise<void> {
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());
  // A reader that went away (`| head`) is the end of it, too.
  process.stdout.on("error", () => stopping.abort());
  const { isTTY } = process.stdout;
  const redraws = isTTY === true && process.env.TERM !== "dumb" && options.output === "text";
  while (!stopping.signal.aborted) {
    const text = await frame(access, options);
    // Home and clear to the end, not clear first: an emptied screen would flicker.
    process.stdout.write(redraws ? `\u001b[H${text.replaceAll("\n", "\u001b[K\n")}\u001b[J` : text);
    await sleep(every * 1_000, stopping.signal);
  }
}

/** One look. A site that doesn't answer is what somebody may be watching for, so it doesn't end the watch. */
async function frame(access: AdminAccess, { output }: StatusOptions): Promise<string> {
  const time = new Date().toISOString();
  try {
    const answer = await read(access);
    return output === "json" ? `${JSON.stringify(answer)}\n` : `${time}  ${statusScreen(answer)}\n`;
  } catch (error) {
    const problem = messageOf(error);
    return output === "json" ? `${JSON.stringify({ time, problem })}\n` : `${time}  ${problem}\n\n`;
  }
}

async function read(access: AdminAccess): Promise<SiteStatus> {
  return answerAs(statusSchema, await askAdmin(access, "/api/v1/status"));
}

function seconds(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("give a whole number of seconds, from 1 to 9999");
}
