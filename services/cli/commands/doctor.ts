import type { Command } from "commander";
import { judge } from "../doctor/checks.js";
import type { Finding } from "../doctor/facts.js";
import { gather } from "../doctor/gather.js";
import { findPatient } from "../doctor/patients.js";
import { EXIT } from "../errors.js";
import { json, table } from "../output.js";
import { type ClientOptions, withSite } from "./shared.js";

interface DoctorOptions extends ClientOptions {
  readonly json?: boolean;
}

export function addDoctorCommand(program: Command): void {
  withSite(program.command("doctor").description("what is wrong with the running site, and how to mend it"))
    .option("--json", "like -o json")
    .action(doctor);
}

async function doctor(options: DoctorOptions): Promise<void> {
  const findings = judge(await gather(await findPatient(options)));
  const count = (result: Finding["result"]) => findings.filter((finding) => finding.result === result).length;
  const summary = { ok: count("ok"), warn: count("warn"), fail: count("fail") };
  const asJson = options.json === true || options.output === "json";
  process.stdout.write(asJson ? json({ healthy: summary.fail === 0, summary, findings }) : report(findings));
  process.exitCode = summary.fail === 0 ? EXIT.ok : EXIT.unhealthy;
}

const SHOWN = { ok: "ok", warn: "WARN", fail: "FAIL" } as const;

/** What was seen as a table, then what to do about it; the same order in both. */
function report(findings: readonly Finding[]): string {
  const rows = findings.map(({ result, check, subject, seen }) => [SHOWN[result], check, subject, seen]);
  const ills = findings.filter(({ result }) => result !== "ok");
  const mends = ills.map(
    ({ result, check, subject, mend }) => `  ${SHOWN[result]} ${check}, ${subject}: ${mend ?? ""}\n`,
  );
  const verdict = ills.length === 0 ? "nothing is wrong\n" : `to mend:\n${mends.join("")}`;
  return `${table(["RESULT", "CHECK", "WHERE", "SEEN"], rows)}\n${verdict}`;
}
