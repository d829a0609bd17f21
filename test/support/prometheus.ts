import { z } from "zod";

const vectorSchema = z.object({
  status: z.literal("success"),
  data: z.object({
    resultType: z.string(),
    result: z.array(z.object({ metric: z.record(z.string(), z.string()), value: z.tuple([z.number(), z.string()]) })),
  }),
});

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

async function ask(url: string, path: string): Promise<unknown> {
  const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(15_000) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path} got ${response.status}: ${text.slice(0, 500)}`);
  return JSON.parse(text);
}

/** What an expression says now. Throws with Prometheus's words where it isn't one. */
export async function instantQuery(url: string, expression: string): Promise<Sample[]> {
  const answer = vectorSchema.parse(await ask(url, `/api/v1/query?query=${encodeURIComponent(expression)}`));
  return answer.data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
}

const alertsSchema = z.object({
  data: z.object({
    alerts: z.array(z.object({ labels: z.record(z.string(), z.string()), state: z.string() })),
  }),
});

export interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  /** `pending` or `firing`. */
  readonly state: string;
}

/** Alerts that aren't inactive, as Prometheus sees them. */
export async function alerts(url: string): Promise<Alert[]> {
  return alertsSchema.parse(await ask(url, "/api/v1/alerts")).data.alerts;
}

const matrixSchema = z.object({
  data: z.object({ result: z.array(z.object({ values: z.array(z.tuple([z.number(), z.string()])) })) }),
});

/** Whether an expression had a number at any of the steps of the last `seconds`: whether a panel would show something. */
export async function hasData(url: string, expression: string, seconds: number, stepSeconds = 5): Promise<boolean> {
  const end = Date.now() / 1_000;
  const range = `start=${end - seconds}&end=${end}&step=${stepSeconds}`;
  const answer = await ask(url, `/api/v1/query_range?query=${encodeURIComponent(expression)}&${range}`);
  return matrixSchema
    .parse(answer)
    .data.result.some(({ values }) => values.some(([, value]) => Number.isFinite(Number(value))));
}

const rulesSchema = z.object({
  data: z.object({
    groups: z.array(
      z.object({
        rules: z.array(z.object({ name: z.string(), health: z.string(), lastError: z.string().optional() })),
      }),
    ),
  }),
});
export type Rule = z.infer<typeof rulesSchema>["data"]["groups"][number]["rules"][number];

/** Every rule that Prometheus has loaded, with how its last evaluation went (`ok`). */
export async function rules(url: string): Promise<Rule[]> {
  return rulesSchema.parse(await ask(url, "/api/v1/rules")).data.groups.flatMap((group) => group.rules);
}
