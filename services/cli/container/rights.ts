import { accessSync, constants, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { CliError, EXIT, messageOf } from "../errors.js";

/** Throws a CliError where nothing can be written to the directory; `setting` says what it stands for. */
export function checkWritable(directory: string, setting: string): void {
  try {
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const owner = `${process.getuid?.()}:${process.getgid?.()}`;
    throw new CliError(
      EXIT.settings,
      `${setting}: ${directory} isn't writable by uid ${process.getuid?.()}: chown ${owner} what is mounted there`,
      error,
    );
  }
}

/** Throws a CliError where the file that `setting` names can't be read or is empty. */
export function checkFilled(file: string, setting: string): void {
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const mend = `chown ${process.getuid?.()} the file, and chmod 600 it`;
    throw new CliError(EXIT.settings, `${setting}: it can't be read by uid ${process.getuid?.()}: ${mend}`, error);
  }
  if (text.trim() === "") throw new CliError(EXIT.settings, `${setting}: give a file that holds the password`);
}

/** Throws a CliError where a file of the directory, at any depth, may be read by others than its owner. */
export function checkPrivate(directory: string): void {
  for (const entry of entriesOf(directory)) {
    const file = join(directory, entry);
    const { mode } = statSync(file);
    if ((mode & 0o077) === 0) continue;
    const octal = (mode & 0o777).toString(8).padStart(3, "0");
    throw new CliError(
      EXIT.settings,
      `${file} is readable by others (mode ${octal}): chmod 600 it; if it was seen, replace it`,
    );
  }
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: "utf8" });
  } catch (error) {
    throw new CliError(EXIT.settings, `${directory} can't be read: ${messageOf(error)}`, error);
  }
}
