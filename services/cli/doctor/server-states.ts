import { LAST_RESORT } from "#balancer/template.js";

const LINE = /^haproxy_server_status\{([^}]*)\} 1(?:\.0+)?$/;

/**
 * Each node's state in HAProxy's own metrics, by its name. Each node stands there twice, and its second server is for the
 * case that no node is full any more: only the first tells whether it gets partners. Pure.
 */
export function serverStates(page: string): Map<string, string> {
  const states = new Map<string, string>();
  for (const line of page.split("\n")) {
    const labels = LINE.exec(line)?.[1];
    if (labels === undefined) continue;
    const label = (name: string) => new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels)?.[1] ?? "";
    const server = label("server");
    if (label("proxy") === "sftp" && !server.endsWith(LAST_RESORT)) states.set(server, label("state"));
  }
  return states;
}
