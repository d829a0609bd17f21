import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { connect } from "node:net";
import { z } from "zod";
import type { Address } from "#lib/address.js";
import { monotonicMs } from "#lib/clock.js";
import { systemCode } from "#lib/errors.js";
import { type AdminAccess, AdminError, askAdmin } from "../admin-client.js";
import { messageOf } from "../errors.js";
import { ask } from "../http.js";
import { fetchHostKeys } from "../up/host-key-scan.js";
import { kindOfKey } from "../up/ssh-wire.js";
import type {
  AdminFacts,
  BalancerFacts,
  Facts,
  FrontFacts,
  MemberFacts,
  NodeAnswer,
  NodeFacts,
  SecretFacts,
  SeenClient,
} from "./facts.js";
import { nodeStatusSchema } from "./facts.js";
import { serverStates } from "./server-states.js";
import { tryStorage } from "./storage-trial.js";

/** Where to look. What a kind of site hasn't got is empty. */
export interface Patient {
  readonly token: string;
  /** The authorities behind https addresses of nodes, in PEM. */
  readonly ca?: string;
  readonly nodes: readonly { readonly name: string; readonly adminUrl: string; readonly expected: boolean }[];
  readonly fronts: readonly { readonly name: string; readonly address: Address }[];
  /** Admin addresses that aren't a node's own. */
  readonly admins: readonly { readonly name: string; readonly url: string }[];
  readonly balancers: readonly { readonly name: string; readonly metricsUrl: string }[];
  readonly members: readonly { readonly name: string; readonly healthUrl: string }[];
  /** Files and directories that nobody but their owner may read. */
  readonly secrets: readonly string[];
}

const TIMEOUT_MS = 5_000;
const MAX_BANNER_BYTES = 1_024;

/** Looks at everything at once; what doesn't answer is a fact like any other. Never rejects. */
export async function gather(patient: Patient): Promise<Facts> {
  const [nodes, fronts, balancers, members, admins] = await Promise.all([
    Promise.all(patient.nodes.map((node) => lookAtNode(node, patient))),
    Promise.all(patient.fronts.map((front) => lookAtFront(front, patient))),
    Promise.all(patient.balancers.map(lookAtBalancer)),
    Promise.all(patient.members.map(lookAtMember)),
    Promise.all(patient.admins.map((admin) => lookAtAdmin(admin, patient.ca))),
  ]);
  const trial = await tryStorage(nodes, ({ adminUrl }) => accessTo(adminUrl, patient));
  return { nodes, fronts, balancers, members, admins, trial, secrets: patient.secrets.map(lookAtSecret) };
}

async function lookAtNode(node: Patient["nodes"][number], patient: Patient): Promise<NodeFacts> {
  return { ...node, answer: await askStatus(accessTo(node.adminUrl, patient)) };
}

/** One node alone, whoever else could answer in its place. */
function accessTo(adminUrl: string, { token, ca }: Pick<Patient, "token" | "ca">): AdminAccess {
  return { urls: [adminUrl], token, ...(ca === undefined ? {} : { ca }) };
}

async function lookAtAdmin({ name, url }: Patient["admins"][number], ca: string | undefined): Promise<AdminFacts> {
  try {
    const request = { method: "GET", headers: {}, timeoutMs: TIMEOUT_MS, ...(ca === undefined ? {} : { ca }) };
    const { status, certificateEndsAt: endsAt } = await ask(new URL("/health/live", url), request);
    const problem = status === 200 ? undefined : `status ${status}: no node answers behind it`;
    return { name, url, problem, ...(endsAt === undefined ? {} : { endsAt }) };
  } catch (error) {
    return { name, url, problem: reasonOf(error) };
  }
}

async function askStatus(access: AdminAccess): Promise<NodeAnswer> {
  const askedAt = Date.now();
  const start = monotonicMs();
  try {
    const answer = await askAdmin(access, "/api/v1/status", { timeoutMs: TIMEOUT_MS });
    const roundTripMs = monotonicMs() - start;
    const parsed = nodeStatusSchema.safeParse(answer);
    if (!parsed.success) return { kind: "odd", problem: z.prettifyError(parsed.error).split("\n")[0] ?? "" };
    return { kind: "status", status: parsed.data, askedAt, roundTripMs };
  } catch (error) {
    if (error instanceof AdminError) {
      const denied = error.status === 401 || error.status === 403;
      return denied ? { kind: "denied" } : { kind: "odd", problem: error.message };
    }
    return { kind: "silent", problem: reasonOf(error) };
  }
}

/** The innermost cause: "ECONNREFUSED" says more than "fetch failed". */
function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause !== undefined) reason = reason.cause;
  const code = systemCode(reason);
  if (code === "ECONNREFUSED") return "nothing listens there";
  if (code === "ENOTFOUND" || code === "EHOSTUNREACH" || code === "ENETUNREACH") return "it can't be reached";
  return reason instanceof Error && reason.name === "TimeoutError" ? "no answer in time" : (code ?? messageOf(reason));
}

const connectionsSchema = z.looseObject({
  node: z.string(),
  connections: z.array(z.looseObject({ address: z.string(), port: z.number(), account: z.string().nullable() })),
});

async function lookAtFront({ name, address }: Patient["fronts"][number], patient: Patient): Promise<FrontFacts> {
  const greeting = await greet(address, () => seenClients(patient));
  const hostKeys = greeting.banner === undefined ? [] : await fetchHostKeys(address);
  return { name, address, ...greeting, hostKeys: hostKeys.map(fingerprint).sort() };
}

function fingerprint(key: Buffer): string {
  const digest = createHash("sha256").update(key).digest("base64").replace(/=+$/, "");
  return `${kindOfKey(key)} SHA256:${digest}`;
}

type Greeting = Pick<FrontFacts, "banner" | "client" | "seen"> & { readonly problem?: string };

/** Connects, waits for the server's first line, and keeps the connection open until `meanwhile` has looked. */
function greet({ host, port }: Address, meanwhile: () => Promise<SeenClient[] | undefined>): Promise<Greeting> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let received = "";
    let client: Address | undefined;
    let greeted = false;
    let over = false;
    const finish = (greeting: Partial<Greeting>) => {
      if (over) return;
      over = true;
      resolve({ banner: undefined, client, seen: undefined, ...greeting });
    };
    // Once the greeting is there, a connection that ends under the look at the nodes is no fault of this address.
    const fail = (problem: string) => {
      if (greeted) return;
      finish({ problem });
      socket.destroy();
    };
    socket.setTimeout(TIMEOUT_MS, () => fail("it says nothing"));
    socket.on("error", (error) => fail(reasonOf(error)));
    socket.on("close", () => fail("it hangs up: no node may be ready"));
    socket.on("connect", () => {
      client = { host: socket.localAddress ?? "", port: socket.localPort ?? 0 };
    });
    socket.on("data", (data) => {
      if (over || greeted) return;
      received += data.toString("latin1").slice(0, MAX_BANNER_BYTES);
      const end = received.indexOf("\n");
      if (end < 0 && received.length < MAX_BANNER_BYTES) return;
      const banner = received.slice(0, end < 0 ? MAX_BANNER_BYTES : end).trim();
      greeted = true;
      void meanwhile().then((seen) => {
        finish({ banner, seen });
        socket.destroy();
      });
    });
  });
}

/** Clients without a login, by node; undefined where no node could be asked. */
async function seenClients({ nodes, ...rest }: Patient): Promise<SeenClient[] | undefined> {
  const answers = await Promise.all(
    nodes.map(async ({ adminUrl }) => {
      try {
        const request = { timeoutMs: TIMEOUT_MS };
        return connectionsSchema.parse(await askAdmin(accessTo(adminUrl, rest), "/api/v1/connections", request));
      } catch {
        return undefined;
      }
    }),
  );
  const told = answers.filter((answer) => answer !== undefined);
  if (told.length === 0) return undefined;
  return told.flatMap(({ node, connections }) =>
    connections.filter(({ account }) => account === null).map(({ address: host, port }) => ({ node, host, port })),
  );
}

async function lookAtBalancer({ name, metricsUrl }: Patient["balancers"][number]): Promise<BalancerFacts> {
  try {
    return { name, servers: serverStates(await get(metricsUrl)) };
  } catch (error) {
    return { name, servers: undefined, problem: `${metricsUrl}: ${reasonOf(error)}` };
  }
}

async function lookAtMember({ name, healthUrl }: Patient["members"][number]): Promise<MemberFacts> {
  try {
    const { health, reason } = z
      .looseObject({ health: z.string(), reason: z.string().optional() })
      .parse(JSON.parse(await get(healthUrl)));
    if (health === "true") return { name, healthy: true };
    return { name, healthy: false, problem: reason || "it says that it isn't healthy" };
  } catch (error) {
    return { name, healthy: false, problem: `${healthUrl}: ${reasonOf(error)}` };
  }
}

/** The body, whatever the status: a member that isn't healthy says so with 503. */
async function get(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), headers: { connection: "close" } });
  return await response.text();
}

function lookAtSecret(path: string): SecretFacts {
  try {
    return { path, mode: statSync(path).mode & 0o777 };
  } catch (error) {
    return { path, mode: undefined, problem: messageOf(error) };
  }
}
