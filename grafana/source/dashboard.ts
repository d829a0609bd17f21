import type { Builder } from "@grafana/grafana-foundation-sdk/cog";
import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  type Panel,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from "@grafana/grafana-foundation-sdk/dashboard";
import { DATASOURCE } from "./panels.js";
import { DATASOURCE_NAME, DATASOURCE_UID } from "./provisioning.js";

export interface Page {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  /** Whether `$node` may be several; all of them from the start. */
  readonly severalNodes: boolean;
  readonly rows: readonly { readonly title: string; readonly panels: readonly Builder<Panel>[] }[];
}

/** On each of our dashboards, so that they link to each other. */
const TAG = "longshore";

export function dashboard(page: Page): Dashboard {
  const builder = new DashboardBuilder(page.title)
    .uid(page.uid)
    .description(page.description)
    .tags([TAG])
    .timezone("browser")
    .time({ from: "now-1h", to: "now" })
    .refresh("10s")
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .variables([
      new DatasourceVariableBuilder("datasource")
        .label("Prometheus")
        .type("prometheus")
        .current({ selected: true, text: DATASOURCE_NAME, value: DATASOURCE_UID }),
      labels("site", "Site", `up{job="longshore"}`),
      nodeVariable(page.severalNodes),
    ])
    .link(
      new DashboardLinkBuilder("Longshore")
        .type(DashboardLinkType.Dashboards)
        .tags([TAG])
        .keepTime(true)
        .includeVars(true),
    );
  for (const { title, panels } of page.rows) {
    builder.withRow(new RowBuilder(title));
    for (const panel of panels) builder.withPanel(panel);
  }
  const built = builder.build();
  // Links and alerts refer to panels by their ids: they go by the order, which the committed file shows.
  for (const [index, panel] of (built.panels ?? []).entries()) panel.id = index + 1;
  return built;
}

function nodeVariable(several: boolean): QueryVariableBuilder {
  const variable = labels("node", "Node", `up{job="longshore",site="$site"}`);
  if (!several) return variable;
  return variable.multi(true).includeAll(true).allValue(".+").current({ selected: true, text: "All", value: "$__all" });
}

/** All values of a label, asked for again with each change of the time. */
function labels(name: string, label: string, selector: string): QueryVariableBuilder {
  const query = `label_values(${selector}, ${name})`;
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query({ query, refId: `variable-${name}` })
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.NaturalAsc);
}
