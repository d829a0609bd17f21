import type { Builder } from "@grafana/grafana-foundation-sdk/cog";
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from "@grafana/grafana-foundation-sdk/common";
import {
  FieldColorBuilder,
  FieldColorModeId,
  MappingType,
  type Panel,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type ValueMapping,
} from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as StatBuilder } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as TimelineBuilder } from "@grafana/grafana-foundation-sdk/statetimeline";
import { PanelBuilder as GraphBuilder } from "@grafana/grafana-foundation-sdk/timeseries";

/** The data source that the dashboard's first variable names. */
export const DATASOURCE = { type: "prometheus", uid: "$" + "{datasource}" } as const;

export type Color = "green" | "yellow" | "orange" | "red" | "blue" | "purple";

/** Grafana's units that we use. */
export type Unit = "short" | "s" | "bytes" | "Bps" | "ops" | "percentunit" | "reqps";

export interface Query {
  readonly expression: string;
  /** Grafana's template over labels. */
  readonly legend?: string;
}

export interface PanelOptions {
  readonly title: string;
  /** What it says, and what is normal. */
  readonly description: string;
  readonly unit: Unit;
  readonly queries: readonly Query[];
  /** The color below the first step. Default green. */
  readonly base?: Color;
  /** From this value on, this color; rising. */
  readonly steps?: readonly (readonly [from: number, color: Color])[];
  /** Words instead of values. */
  readonly words?: Readonly<Record<number, readonly [word: string, color: Color]>>;
  /** Of the grid's 24 columns. */
  readonly width: number;
}

export interface GraphOptions extends PanelOptions {
  /** Series on top of each other, where their sum means something. Default false. */
  readonly stacked?: boolean;
  readonly max?: number;
}

export interface StatOptions extends PanelOptions {
  /** Shows the series' name, which is the answer, instead of its value. Default false. */
  readonly showsName?: boolean;
}

const STAT_HEIGHT = 4;
const GRAPH_HEIGHT = 8;

/** One number, or word, as of now. */
export function stat(options: StatOptions): Builder<Panel> {
  const builder = common(new StatBuilder(), options, true)
    .height(STAT_HEIGHT)
    .colorMode(BigValueColorMode.Background)
    .graphMode(BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(["lastNotNull"]));
  return options.showsName ? builder.textMode(BigValueTextMode.Name) : builder;
}

/** Values over time. Its thresholds are lines, so that a bound is seen before it is crossed. */
export function graph(options: GraphOptions): Builder<Panel> {
  const { stacked = false, max, steps = [] } = options;
  const builder = common(new GraphBuilder(), options, false)
    .height(GRAPH_HEIGHT)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassic))
    .min(0)
    .lineWidth(1)
    .fillOpacity(stacked ? 30 : 8)
    .showPoints(VisibilityMode.Never)
    .thresholdsStyle(
      new GraphThresholdsStyleConfigBuilder().mode(
        steps.length === 0 ? GraphThresholdsStyleMode.Off : GraphThresholdsStyleMode.Dashed,
      ),
    )
    .legend(legend())
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .stacking(new StackingConfigBuilder().mode(stacked ? StackingMode.Normal : StackingMode.None));
  return max === undefined ? builder : builder.max(max);
}

/** States over time, a line each. */
export function timeline(options: PanelOptions): Builder<Panel> {
  return common(new TimelineBuilder(), options, false)
    .height(GRAPH_HEIGHT)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
    .showValue(VisibilityMode.Auto)
    .mergeValues(true)
    .fillOpacity(80)
    .rowHeight(0.8)
    .legend(new VizLegendOptionsBuilder().showLegend(false).displayMode(LegendDisplayMode.Hidden));
}

/** What all panels have; `instant`: only the value as of now is asked for. */
function common<Kind extends StatBuilder | GraphBuilder | TimelineBuilder>(
  builder: Kind,
  options: PanelOptions,
  instant: boolean,
): Kind {
  const { base = "green", steps = [], words, queries } = options;
  builder
    .title(options.title)
    .description(options.description)
    .datasource(DATASOURCE)
    .unit(options.unit)
    .span(options.width)
    .targets(
      queries.map(({ expression, legend: name = options.title }, index) => {
        const query = new DataqueryBuilder()
          .datasource(DATASOURCE)
          .refId(String.fromCharCode("A".charCodeAt(0) + index))
          .expr(expression)
          .legendFormat(name);
        return instant ? query.instant() : query.range();
      }),
    )
    .thresholds(
      new ThresholdsConfigBuilder()
        .mode(ThresholdsMode.Absolute)
        .steps([{ value: null, color: base }, ...steps.map(([value, color]) => ({ value, color }))]),
    );
  if (words !== undefined) builder.mappings([mapping(words)]);
  return builder;
}

function mapping(words: NonNullable<PanelOptions["words"]>): ValueMapping {
  const options = Object.fromEntries(
    Object.entries(words).map(([value, [text, color]], index) => [value, { text, color, index }]),
  );
  return { type: MappingType.ValueToText, options };
}

function legend(): VizLegendOptionsBuilder {
  return new VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(LegendDisplayMode.List)
    .placement(LegendPlacement.Bottom);
}
