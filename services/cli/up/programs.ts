import { CliError, EXIT, messageOf } from "../errors.js";
import { findProgram, installCommand, installPackages, whyNotInstall } from "./packages.js";
import type { Programs } from "./processes.js";
import type { Report } from "./report.js";

/** Programs and the Debian packages that bring them. */
const PACKAGES = { etcd: "etcd-server", haproxy: "haproxy", prometheus: "prometheus" } as const;
type Program = keyof typeof PACKAGES;

const STANDALONE_HINT = "or try `longshore up --standalone`: one node with a store of its own, nothing to install";

/**
 * Finds what a site of several nodes runs on. As root on Debian it installs what is missing, after saying so; elsewhere it
 * throws a CliError that says what is missing. Prometheus is welcome, but never needed.
 */
export async function findPrograms(withPrometheus: boolean, report: Report): Promise<Programs> {
  const wanted: Program[] = ["etcd", "haproxy", ...(withPrometheus ? (["prometheus"] as const) : [])];
  const missing = wanted.filter((program) => findProgram(program) === undefined);
  if (missing.length > 0) await provide(missing, report);
  const etcd = findProgram("etcd");
  const haproxy = findProgram("haproxy");
  if (etcd === undefined || haproxy === undefined) {
    throw new CliError(EXIT.missingProgram, `etcd or haproxy is still missing from PATH; ${STANDALONE_HINT}`);
  }
  const prometheus = withPrometheus ? findProgram("prometheus") : undefined;
  return { etcd, haproxy, ...(prometheus === undefined ? {} : { prometheus }) };
}

async function provide(missing: readonly Program[], report: Report): Promise<void> {
  const needed = missing.filter((program) => program !== "prometheus");
  const packages = missing.map((program) => PACKAGES[program]);
  const obstacle = whyNotInstall();
  if (obstacle !== undefined) {
    if (needed.length === 0) {
      report.warn(`Prometheus isn't installed, so this site has no graphs (${obstacle})`);
      return;
    }
    throw new CliError(
      EXIT.missingProgram,
      `${needed.join(" and ")} ${needed.length === 1 ? "is" : "are"} missing, and ${obstacle}. On Debian or Ubuntu, as root: ` +
        `${installCommand(packages)}; ${STANDALONE_HINT}`,
    );
  }
  report.warn(`installing Debian packages: ${packages.join(", ")} (their own services are not started)`);
  try {
    await installPackages(packages);
    report.step(`installed ${packages.join(", ")}`);
  } catch (error) {
    if (needed.length > 0) throw new CliError(EXIT.missingProgram, `${messageOf(error)}\n${STANDALONE_HINT}`, error);
    report.warn(`going on without Prometheus: ${messageOf(error)}`);
  }
}
