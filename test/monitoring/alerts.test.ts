import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { ALERT_GROUPS, RUNBOOK } from "../../grafana/source/alerts.js";
import { run, succeeded } from "../support/clients/run.js";
import { ensurePackages } from "../support/packages.js";
import { ALERTS, GRAFANA, ROOT } from "./files.js";

/** The alerts without a site: Prometheus's own tool plays histories to them. */

const alerts = ALERT_GROUPS.flatMap((group) => group.alerts);
/** In a folder of their own: Prometheus may be given all of alerts/*.yaml. */
const directory = join(GRAFANA, "alerts", "tests");
const histories = readdirSync(directory);

let promtool: string;
before(() => {
  ({ promtool } = ensurePackages({ promtool: "prometheus" }));
});

describe("the alerts", () => {
  test("are rules that Prometheus takes", async () => {
    const { stdout } = succeeded(await run(promtool, ["check", "rules", ALERTS]));
    assert.match(stdout, new RegExp(`SUCCESS: ${alerts.length} rules found`));
  });

  test("have names of their own, and one line that says what is wrong, and where", () => {
    assert.equal(new Set(alerts.map(({ name }) => name)).size, alerts.length);
    for (const { name, summary, description } of alerts) {
      assert.match(name, /^Longshore[A-Z]\w+$/);
      assert.match(summary, /\{\{ \$labels\.site \}\}/, name);
      assert.doesNotMatch(summary, /\n/, name);
      assert.ok(description.length > 20, name);
    }
  });

  for (const history of histories)
    test(`fire when they should, and else not: ${history}`, async () => {
      succeeded(await run(promtool, ["test", "rules", history], { cwd: directory, deadlineMs: 120_000 }));
    });

  test("each have a history in which they fire", () => {
    const text = histories.map((name) => readFileSync(join(directory, name), "utf8")).join("\n");
    const silent = alerts.filter(({ name }) => !new RegExp(`alertname="${name}"[^']*', value: [1-9]`).test(text));
    assert.deepEqual(
      silent.map(({ name }) => name),
      [],
    );
  });

  test("each have their section in the runbook, and each section its alert", () => {
    const text = readFileSync(join(ROOT, RUNBOOK), "utf8");
    const sections = [...text.matchAll(/^## (Longshore\w+)$/gm)].map(([, name]) => name);
    assert.deepEqual(sections.sort(), alerts.map(({ name }) => name).sort());
    for (const section of text.split(/^## /m).slice(1)) {
      if (!section.startsWith("Longshore")) continue;
      for (const part of ["**Means**", "**Partners**", "**Check**", "**Mend**"])
        assert.ok(section.includes(part), `${section.split("\n")[0]}: ${part}`);
    }
  });
});
