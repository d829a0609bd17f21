import type { Attributes } from "#sessions/contract.js";
import { fullMode } from "./attributes.js";

/**
 * READDIR's `longname`: a line like `ls -l`'s. The draft lets clients parse nothing of it, yet old ones (and people) do,
 * so it is laid out as OpenSSH's server does.
 */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HALF_A_YEAR = (365 * 24 * 3_600) / 2;
const TYPE_LETTERS: Readonly<Record<Attributes["type"], string>> = {
  file: "-",
  directory: "d",
  symlink: "l",
  other: "p",
};

function triplet(bits: number, special: boolean, set: string, unset: string): string {
  const execute = (bits & 1) !== 0;
  const last = special ? (execute ? set : unset) : execute ? "x" : "-";
  return `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${last}`;
}

function modeText(attributes: Attributes): string {
  const mode = fullMode(attributes);
  return (
    TYPE_LETTERS[attributes.type] +
    triplet(mode >> 6, (mode & 0o4000) !== 0, "s", "S") +
    triplet(mode >> 3, (mode & 0o2000) !== 0, "s", "S") +
    triplet(mode, (mode & 0o1000) !== 0, "t", "T")
  );
}

function timeText(seconds: number, now: number): string {
  const at = new Date(seconds * 1_000);
  const day = String(at.getUTCDate()).padStart(2);
  const month = MONTHS[at.getUTCMonth()] ?? "???";
  if (seconds > now || seconds < now - HALF_A_YEAR) return `${month} ${day}  ${at.getUTCFullYear()}`;
  const hours = String(at.getUTCHours()).padStart(2, "0");
  return `${month} ${day} ${hours}:${String(at.getUTCMinutes()).padStart(2, "0")}`;
}

/** One line. Times are in UTC; `now` is in seconds since 1970. */
export function longName(name: string, attributes: Attributes, owner: string, now: number): string {
  const links = String(attributes.links).padStart(3);
  const size = String(attributes.size).padStart(8);
  const who = owner.padEnd(8);
  return `${modeText(attributes)}  ${links} ${who} ${who} ${size} ${timeText(attributes.mtime, now)} ${name}`;
}
