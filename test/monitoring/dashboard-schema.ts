import { z } from "zod";

/**
 * The parts of a dashboard's JSON that we use, strictly. The SDK publishes types and no schema: the compiler checks the
 * generator against them, and this checks what is committed, wherever it came from, without Grafana.
 */

const datasource = z.strictObject({ type: z.literal("prometheus"), uid: z.literal("$" + "{datasource}") });
const color = z.enum(["green", "yellow", "orange", "red", "blue", "purple"]);
const gridPos = z.strictObject({
  x: z.int().min(0).max(23),
  y: z.int().min(0),
  w: z.int().min(1).max(24),
  h: z.int().min(1),
});

const target = z.strictObject({
  expr: z.string().min(1),
  datasource,
  refId: z.string().regex(/^[A-Z]$/),
  legendFormat: z.string().min(1),
  instant: z.boolean(),
  range: z.boolean(),
});

const thresholds = z.strictObject({
  mode: z.literal("absolute"),
  steps: z
    .array(z.strictObject({ value: z.number().nullable(), color }))
    .min(1)
    .refine(
      (steps) =>
        steps.every(({ value }, index) =>
          index === 0
            ? value === null
            : value !== null && value > (steps[index - 1]?.value ?? Number.NEGATIVE_INFINITY),
        ),
      "the first step has no value, and the others rise",
    ),
});

const fieldConfig = <Custom extends z.ZodType>(custom: Custom) =>
  z.strictObject({
    defaults: z.strictObject({
      // Grafana knows more of them; a misspelt one is shown as a suffix.
      unit: z.enum(["short", "s", "bytes", "Bps", "ops", "percentunit", "reqps"]),
      thresholds,
      min: z.number().optional(),
      max: z.number().optional(),
      color: z.strictObject({ mode: z.enum(["thresholds", "palette-classic"]) }).optional(),
      mappings: z
        .array(
          z.strictObject({
            type: z.literal("value"),
            options: z.record(
              z.string().regex(/^\d+$/),
              z.strictObject({ text: z.string().min(1), color, index: z.int() }),
            ),
          }),
        )
        .optional(),
      custom,
    }),
    overrides: z.array(z.never()),
  });

const legend = z.strictObject({
  displayMode: z.enum(["list", "table", "hidden"]),
  placement: z.enum(["bottom", "right"]),
  showLegend: z.boolean(),
  calcs: z.array(z.string()),
});
const tooltip = z.strictObject({ mode: z.enum(["single", "multi", "none"]), sort: z.enum(["asc", "desc", "none"]) });

const panel = z.strictObject({
  id: z.int().min(1),
  title: z.string().min(1),
  description: z.string().min(20),
  transparent: z.boolean(),
  repeatDirection: z.enum(["h", "v"]),
  datasource,
  gridPos,
  targets: z.array(target).min(1),
});

const row = z.strictObject({
  type: z.literal("row"),
  id: z.int().min(1),
  title: z.string().min(1),
  collapsed: z.literal(false),
  panels: z.array(z.never()),
  gridPos,
});

const stat = panel.extend({
  type: z.literal("stat"),
  options: z.strictObject({
    graphMode: z.enum(["none", "line", "area"]),
    colorMode: z.enum(["value", "background", "background_solid", "none"]),
    justifyMode: z.enum(["auto", "center"]),
    textMode: z.enum(["auto", "value", "value_and_name", "name", "none"]),
    wideLayout: z.boolean(),
    showPercentChange: z.boolean(),
    reduceOptions: z.strictObject({ calcs: z.tuple([z.literal("lastNotNull")]) }),
    percentChangeColorMode: z.enum(["standard", "inverted", "same_as_value"]),
    orientation: z.enum(["auto", "vertical", "horizontal"]),
  }),
  fieldConfig: fieldConfig(z.undefined().optional()),
});

const timeseries = panel.extend({
  type: z.literal("timeseries"),
  options: z.strictObject({ legend, tooltip }),
  fieldConfig: fieldConfig(
    z.strictObject({
      lineWidth: z.number(),
      fillOpacity: z.number().min(0).max(100),
      showPoints: z.enum(["auto", "never", "always"]),
      thresholdsStyle: z.strictObject({ mode: z.enum(["off", "line", "dashed", "area"]) }),
      stacking: z.strictObject({ mode: z.enum(["none", "normal", "percent"]) }),
    }),
  ),
});

const stateTimeline = panel.extend({
  type: z.literal("state-timeline"),
  options: z.strictObject({
    showValue: z.enum(["auto", "never", "always"]),
    rowHeight: z.number().min(0).max(1),
    mergeValues: z.boolean(),
    alignValue: z.enum(["left", "center", "right"]),
    legend,
    tooltip,
    perPage: z.int(),
  }),
  fieldConfig: fieldConfig(z.strictObject({ lineWidth: z.number(), fillOpacity: z.number().min(0).max(100) })),
});

const variable = z.strictObject({
  name: z.string().regex(/^\w+$/),
  label: z.string().min(1),
  skipUrlSync: z.boolean(),
  multi: z.boolean(),
  allowCustomValue: z.boolean(),
  includeAll: z.boolean(),
  allValue: z.string().optional(),
  auto: z.boolean(),
  auto_min: z.string(),
  auto_count: z.int(),
  current: z.strictObject({ selected: z.boolean(), text: z.string(), value: z.string() }).optional(),
});
const datasourceVariable = variable.extend({ type: z.literal("datasource"), query: z.literal("prometheus") });
const queryVariable = variable.extend({
  type: z.literal("query"),
  datasource,
  query: z.strictObject({ query: z.string().min(1), refId: z.string().min(1) }),
  definition: z.string().min(1),
  refresh: z.literal([1, 2]),
  sort: z.int().min(0).max(8),
});

const link = z.strictObject({
  title: z.string().min(1),
  type: z.literal("dashboards"),
  icon: z.string(),
  tooltip: z.string(),
  tags: z.array(z.string()).min(1),
  asDropdown: z.boolean(),
  placement: z.literal("inControlsMenu"),
  targetBlank: z.boolean(),
  includeVars: z.literal(true),
  keepTime: z.literal(true),
});

export const dashboardSchema = z.strictObject({
  uid: z.string().regex(/^[\w-]{1,40}$/),
  title: z.string().min(1),
  description: z.string().min(1),
  tags: z.array(z.string()).min(1),
  timezone: z.literal("browser"),
  editable: z.literal(false),
  graphTooltip: z.literal([0, 1, 2]),
  fiscalYearStartMonth: z.literal(0),
  schemaVersion: z.int().min(36),
  annotations: z.strictObject({}),
  time: z.strictObject({ from: z.string().startsWith("now-"), to: z.literal("now") }),
  refresh: z.string().regex(/^\d+[sm]$/),
  links: z.array(link),
  templating: z.strictObject({ list: z.array(z.discriminatedUnion("type", [datasourceVariable, queryVariable])) }),
  panels: z.array(z.discriminatedUnion("type", [row, stat, timeseries, stateTimeline])).min(1),
});
export type DashboardJson = z.infer<typeof dashboardSchema>;
