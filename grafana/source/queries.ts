/** Parts of queries that dashboards and alerts share. */

/** Reasons of failed commits that the client gave: its directory is gone, another upload of the same name came later. */
export const clientReasons = [
  "not-found",
  "exists",
  "is-a-directory",
  "not-a-directory",
  "not-empty",
  "incomplete-upload",
  "superseded",
  "closed",
].join("|");

/** Each node stands in HAProxy twice (services/balancer/template.ts): this is where its agent and its sessions are. */
export const sftpServers = `proxy="sftp",server!~".+-last-resort"`;

/** Longer than any panel's step, and four scrapes at least; Grafana fills it in. */
export const RATE = "$__rate_interval";

/** A node's state as a number, 0 where it doesn't answer but did within the last day. See NODE_STATE_WORDS. */
export function nodeState(selector: string): string {
  const is = (state: string) => `max by (node) (longshore_node_state{${selector},state="${state}"})`;
  return `${is("ready")} + 2 * ${is("joining")} + 3 * ${is("draining")} + 4 * ${is("cut-off")} + 5 * ${is("passive")}
or max by (node) (${everUp(`job="longshore",${selector}`)} == 0)`;
}

export const NODE_STATE_WORDS = {
  0: ["no answer", "red"],
  1: ["ready", "green"],
  2: ["joining", "blue"],
  3: ["draining", "yellow"],
  4: ["cut off", "orange"],
  5: ["passive", "blue"],
} as const;

/** A server's state as a balancer sees it, as a number, if it was up within the last day. See SERVER_STATE_WORDS. */
export function serverState(selector: string): string {
  const is = (state: string) =>
    `max by (balancer, server) (haproxy_server_status{${selector},${sftpServers},state="${state}"})`;
  const wasUp = `max_over_time(haproxy_server_status{${selector},${sftpServers},state="UP"}[1d]) == 1`;
  return `${is("UP")} + 2 * ${is("DRAIN")} + 3 * ${is("MAINT")} + 4 * ${is("NOLB")}
and max by (balancer, server) (${wasUp})`;
}

export const SERVER_STATE_WORDS = {
  0: ["down", "red"],
  1: ["up", "green"],
  2: ["drain", "yellow"],
  3: ["maintenance", "blue"],
  4: ["stopping", "orange"],
} as const;

/** Targets that answered within the last day: a slot that nobody uses isn't one. 1: it answers. */
export function everUp(selector: string): string {
  return `(up{${selector}} and max_over_time(up{${selector}}[1d]) == 1)`;
}

/** The sum of a counter's rises in a second. */
export function rate(metric: string, selector: string, by?: string): string {
  const sum = by === undefined ? "sum" : `sum by (${by})`;
  return `${sum} (rate(${metric}{${selector}}[${RATE}]))`;
}

/** A quantile of a histogram; `by`: besides the buckets. */
export function quantile(share: number, histogram: string, selector: string, by?: string): string {
  const labels = by === undefined ? "le" : `${by}, le`;
  return `histogram_quantile(${share}, ${rate(`${histogram}_bucket`, selector, labels)})`;
}
