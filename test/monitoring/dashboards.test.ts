import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { describe, test } from "node:test";
import { SCRAPE_SECONDS } from "#monitoring/prometheus.js";
import { generatedFiles } from "../../grafana/source/files.js";
import { toYaml } from "../../grafana/source/yaml.js";
import type { DashboardJson } from "./dashboard-schema.js";
import { dashboardFiles, GRAFANA, queriesOf, readDashboard } from "./files.js";

/**
 * Grafana's own image can't be had where these tests run, so nothing here starts Grafana: the JSON is held against a strict
 * schema, and acceptance/monitoring.test.ts asks every query of a real Prometheus.
 */

/** Grafana's own, and ours. */
const GLOBAL_VARIABLES = ["__rate_interval"];

describe("what is generated", () => {
  test("is what is committed: else run `npm run grafana`", () => {
    for (const [path, content] of generatedFiles())
      assert.equal(readFileSync(join(GRAFANA, path), "utf8"), content, `grafana/${path} is stale: run npm run grafana`);
  });

  test("is all that lies there: no rule file or dashboard is left over", () => {
    for (const folder of ["alerts", "dashboards", "provisioning/datasources", "provisioning/dashboards"])
      for (const { name } of readdirSync(join(GRAFANA, folder), { withFileTypes: true }).filter((each) =>
        each.isFile(),
      ))
        assert.ok(generatedFiles().has(`${folder}/${name}`), `grafana/${folder}/${name} comes from nowhere: remove it`);
  });

  test("as YAML is read back as what it was", () => {
    const yaml = toYaml({
      a: [{ b: "plain words", c: 'a "quoted" one' }, { d: ["x: y", "no", ""] }],
      e: { f: 5, g: true, h: undefined },
      i: [],
      j: "two\nlines",
    });
    assert.equal(
      yaml,
      [
        "a:",
        "  - b: plain words",
        "    c: |-",
        '      a "quoted" one',
        "  - d:",
        '      - "x: y"',
        '      - "no"',
        '      - ""',
        "e:",
        "  f: 5",
        "  g: true",
        "i: []",
        "j: |-",
        "  two",
        "  lines",
        "",
      ].join("\n"),
    );
  });
});

for (const file of dashboardFiles()) {
  describe(`the dashboard ${basename(file)}`, () => {
    let dashboard: DashboardJson;

    test("has what Grafana needs, and nothing that it wouldn't understand", () => {
      dashboard = readDashboard(file);
    });

    test("names each panel once, in its row, and gives each an id of its own", () => {
      const ids = dashboard.panels.map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length);
      const titles = dashboard.panels.map(({ title }) => title);
      assert.deepEqual(
        titles.filter((title, index) => titles.indexOf(title) !== index),
        [],
      );
    });

    test("lays no panel over another, nor past the edge", () => {
      const taken = new Map<string, string>();
      for (const { gridPos, title } of dashboard.panels) {
        assert.ok(gridPos.x + gridPos.w <= 24, title);
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
            const other = taken.get(`${x},${y}`);
            assert.equal(other, undefined, `${title} lies over ${other}`);
            taken.set(`${x},${y}`, title);
          }
      }
    });

    test("has every variable that it asks for, defined before it is used", () => {
      const known = new Set(GLOBAL_VARIABLES);
      const unknown = (text: string) =>
        [...text.matchAll(/\$\{?(\w+)/g)].map(([, name]) => name ?? "").filter((name) => !known.has(name));
      for (const variable of dashboard.templating.list) {
        if (variable.type === "query") {
          assert.deepEqual(unknown(variable.datasource.uid), [], variable.name);
          assert.deepEqual(unknown(variable.query.query), [], variable.name);
        }
        known.add(variable.name);
      }
      for (const { where, expression } of queriesOf(file)) assert.deepEqual(unknown(expression), [], where);
      assert.ok(["datasource", "site", "node"].every((name) => known.has(name)));
    });

    test("uses the site's variable in each query, so that two sites are never added up", () => {
      for (const { where, expression } of queriesOf(file)) {
        const selectors = expression.match(/\{[^}]*\}/g) ?? [];
        const wrong = selectors.filter((selector) => !selector.includes('site="$site"'));
        assert.deepEqual(wrong, [], where);
        assert.ok(selectors.length > 0, where);
      }
    });

    test("takes the provisioned data source unless told otherwise", () => {
      const [first] = dashboard.templating.list;
      const uids = provisioned("datasources/longshore.yaml").datasources?.map(({ uid }) => uid) ?? [];
      assert.ok(first?.type === "datasource" && uids.includes(first.current?.value ?? ""), JSON.stringify(first));
    });
  });
}

test("dashboards have different uids", () => {
  const uids = dashboardFiles().map((file) => readDashboard(file).uid);
  assert.equal(new Set(uids).size, uids.length);
});

interface Provisioned {
  readonly apiVersion: number;
  readonly datasources?: readonly {
    readonly uid: string;
    readonly type: string;
    readonly url: string;
    readonly jsonData: { readonly timeInterval?: string };
  }[];
  readonly providers?: readonly { readonly type: string; readonly options: { readonly path: string } }[];
}

/** JSON is YAML; Grafana reads *.yaml only. */
function provisioned(path: string): Provisioned {
  return JSON.parse(readFileSync(join(GRAFANA, "provisioning", path), "utf8")) as Provisioned;
}

describe("Grafana's provisioning", () => {
  test("has one Prometheus, asked at the pace at which it scrapes", () => {
    const { apiVersion, datasources = [] } = provisioned("datasources/longshore.yaml");
    assert.equal(apiVersion, 1);
    const prometheus = datasources.filter(({ type }) => type === "prometheus");
    assert.deepEqual(
      prometheus.map(({ jsonData }) => jsonData.timeInterval),
      [`${SCRAPE_SECONDS}s`],
    );
    for (const { url } of datasources) assert.equal(new URL(url).protocol, "http:");
    assert.equal(new Set(datasources.map(({ uid }) => uid)).size, datasources.length);
  });

  test("reads dashboards from a directory that is there", () => {
    const { apiVersion, providers = [] } = provisioned("dashboards/longshore.yaml");
    assert.equal(apiVersion, 1);
    assert.equal(providers.length, 1);
    for (const { type, options } of providers) {
      assert.equal(type, "file");
      const inRepository = join(GRAFANA, relative("/etc/grafana", options.path));
      assert.ok(existsSync(inRepository), options.path);
      assert.deepEqual(
        readdirSync(inRepository).map((name) => join(inRepository, name)),
        dashboardFiles(),
      );
    }
  });
});
