import { ask } from "#cli/http.js";
import { until } from "#lib/testing.js";
import type { AdminRequest, NewAccount } from "./site.js";

/** The admin API of a site in containers or on machines, over TLS through a port of this host. */

export interface AdminDoor {
  /** Of 127.0.0.1. */
  readonly port: number;
  readonly token: string;
  /** The site's authority, in PEM. */
  readonly ca: string;
  /** For the whole answer, in milliseconds. */
  readonly timeoutMs: number;
}

export type SiteRequest = Omit<AdminRequest, "node">;

/** The JSON that the admin API answers with, its certificate checked. Throws with what it says unless the status is 2xx. */
export async function askThrough(door: AdminDoor, path: string, request: SiteRequest = {}): Promise<unknown> {
  const { method = "GET", body, headers } = request;
  const { status, body: answer } = await ask(new URL(path, `https://127.0.0.1:${door.port}`), {
    method,
    headers: {
      authorization: `Bearer ${door.token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ca: door.ca,
    timeoutMs: door.timeoutMs,
  });
  const text = answer.toString("utf8");
  if (status < 200 || status > 299) throw new Error(`${method} ${path} got ${status}: ${text}`);
  return text === "" ? undefined : (JSON.parse(text) as unknown);
}

/** Adds or replaces an account and resolves when every node that is up knows it. */
export async function addAccountEverywhere(
  admin: (path: string, request?: SiteRequest) => Promise<unknown>,
  name: string,
  account: NewAccount,
  patience: { readonly deadlineMs: number; readonly everyMs?: number },
): Promise<void> {
  const answer = await admin(`/api/v1/accounts/${encodeURIComponent(name)}`, { method: "PUT", body: account });
  const { revision } = answer as { revision: number };
  await until(
    `revision ${revision} is everywhere`,
    async () => ((await admin(`/api/v1/cluster/convergence?revision=${revision}`)) as { converged: boolean }).converged,
    patience,
  );
}
