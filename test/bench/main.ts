import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cluster } from "./cluster.js";
import type { Bench } from "./contract.js";
import { sftp } from "./sftp.js";
import { machine, markdown } from "./table.js";

/** `npm run bench`: what is compared, by name. */
const benches: Readonly<Record<string, Bench>> = { sftp, cluster };

const usage = `usage: npm run bench -- [options]
  --only NAME,...      ${Object.keys(benches).join(", ")} (default: all)
  --figures NAME,...   parts of one (default: all). sftp: bulk, small, logins, idle;
                       cluster: start, propagation, partition, bans, takeover, logins, storm
  --size 1G            the large file (K, M, G)
  --runs 5             interleaved rounds
  --files 2000 --logins 200 --sessions 500
  --dir DIRECTORY      where client's and servers' files lie (default: /dev/shm)
  -o json              values instead of tables, on stdout
  --save FILE          the table, in Markdown`;

function bytes(text: string): number {
  const [, number, unit] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  if (number === undefined) throw new Error(`--size ${text}: a number with K, M or G`);
  const value = Number(number) * 1024 ** " KMG".indexOf((unit ?? "").toUpperCase() || " ");
  // Files are made of whole MiB.
  return Math.max(1, Math.round(value / 2 ** 20)) * 2 ** 20;
}

function names(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(",").filter((name) => name !== "");
}

/** Client's source and copy, and each of three servers' copy and upload under way. */
const copies = 8;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      figures: { type: "string" },
      size: { type: "string", default: "1G" },
      runs: { type: "string", default: "5" },
      files: { type: "string", default: "2000" },
      logins: { type: "string", default: "200" },
      sessions: { type: "string", default: "500" },
      dir: { type: "string", default: "/dev/shm" },
      output: { type: "string", short: "o", default: "table" },
      save: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  const chosen = names(values.only);
  for (const name of chosen) if (benches[name] === undefined) throw new Error(`no benchmark ${name}\n${usage}`);
  const size = bytes(values.size);
  const { bavail, bsize } = statfsSync(values.dir);
  if (bavail * bsize < size * copies)
    throw new Error(`${values.dir} has no room for ${copies} × ${values.size}: choose --size or --dir`);

  const directory = mkdtempSync(join(values.dir || tmpdir(), "longshore-bench-"));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.prependListener(signal, () => {
      // Sites and peers end on `exit`; registered last, this runs when they no longer need their files.
      process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
      process.exit(130);
    });
  try {
    for (const [name, bench] of Object.entries(benches)) {
      if (chosen.length > 0 && !chosen.includes(name)) continue;
      const result = await bench({
        size,
        runs: Number(values.runs),
        files: Number(values.files),
        logins: Number(values.logins),
        sessions: Number(values.sessions),
        figures: names(values.figures),
        directory,
        say: (text) => process.stderr.write(`${name}: ${text}\n`),
      });
      const full = { ...result, notes: [...machine(directory), ...result.notes] };
      const figures = full.figures.map((figure) => ({ ...figure, values: Object.fromEntries(figure.values) }));
      const table = markdown(full);
      process.stdout.write(values.output === "json" ? `${JSON.stringify({ ...full, figures })}\n` : `${table}\n`);
      if (values.save !== undefined) writeFileSync(values.save, `${table}\n`);
    }
    return 0;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : error}\n`);
  process.exitCode = 1;
}
