import { z } from "zod";
import { systemCode } from "#lib/errors.js";
import { CliError, EXIT, type ExitCode, messageOf } from "./errors.js";
import { ask, type HttpAnswer } from "./http.js";

/** Where the admin API is, and what it wants to see. */
export interface AdminAccess {
  /** Tried in this order until one takes the connection: any node may be asked. */
  readonly urls: readonly string[];
  readonly token: string;
  /** Certificates (PEM) of the authorities that https addresses are checked against; absent: the system's. */
  readonly ca?: string;
}

export interface AdminRequest {
  readonly method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Sent as JSON; bytes as they are, with the content type in `headers`. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** How long to wait for the answer, in milliseconds. Default 15,000. */
  readonly timeoutMs?: number;
}

/** A refused request: what the server said (RFC 9457), as an error with the exit code for it. */
export class AdminError extends CliError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(exitCodeFor(status), message);
    this.name = "AdminError";
    this.status = status;
  }
}

const TIMEOUT_MS = 15_000;
const problemSchema = z.looseObject({
  title: z.string().optional(),
  detail: z.string().optional(),
  /** Of a body that isn't valid: what is wrong, and where. */
  faults: z.array(z.looseObject({ path: z.string(), message: z.string() })).optional(),
});

/** Asks the admin API. Returns the JSON of the answer, undefined where there is none. */
export async function askAdmin(access: AdminAccess, path: string, request: AdminRequest = {}): Promise<unknown> {
  const { body, url } = await askAdminForBytes(access, path, request);
  const text = body.toString("utf8");
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new CliError(EXIT.failed, `${url} didn't answer with JSON: is it Longshore's admin API?`, error);
  }
}

const pageSchema = z.looseObject({ next: z.string().optional() });

/** All pages of a list: what each answer holds under `field`. Throws a CliError, also where the server goes in circles. */
export async function askAll(access: AdminAccess, path: string, field: string): Promise<unknown[]> {
  const all: unknown[] = [];
  const seen = new Set<string>();
  let cursor: string | undefined;
  do {
    const query = cursor === undefined ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    const page = pageSchema.safeParse(await askAdmin(access, `${path}${query}`));
    const items = page.data?.[field];
    cursor = page.data?.next;
    if (!Array.isArray(items) || (cursor !== undefined && seen.has(cursor))) {
      throw new CliError(EXIT.failed, `the admin API's list at ${path} isn't understood (another version?)`);
    }
    if (cursor !== undefined) seen.add(cursor);
    all.push(...items);
  } while (cursor !== undefined);
  return all;
}

/** As `askAdmin`; returns the answer itself, for content that isn't JSON. */
export async function askAdminForBytes(
  access: AdminAccess,
  path: string,
  request: AdminRequest = {},
): Promise<HttpAnswer> {
  const answer = await firstAnswer(access, path, request);
  const { status, body } = answer;
  if (status < 200 || status > 299) throw new AdminError(status, refusal(status, path, body.toString("utf8")));
  return answer;
}

async function firstAnswer(access: AdminAccess, path: string, request: AdminRequest): Promise<HttpAnswer> {
  let last: unknown;
  for (const url of access.urls) {
    try {
      return await ask(new URL(path, url), {
        method: request.method ?? "GET",
        headers: {
          accept: "application/json",
          authorization: `Bearer ${access.token}`,
          ...(request.body === undefined ? {} : { "content-type": "application/json" }),
          ...request.headers,
        },
        ...(request.body === undefined ? {} : { body: bodyOf(request.body) }),
        ...(access.ca === undefined ? {} : { ca: access.ca }),
        timeoutMs: request.timeoutMs ?? TIMEOUT_MS,
      });
    } catch (error) {
      last = error;
      // Anything but a connection that never came about may have changed something: that isn't repeated elsewhere.
      if (!neverConnected(error)) break;
    }
  }
  throw new CliError(
    EXIT.unavailable,
    `the admin API doesn't answer at ${access.urls.join(", ")}: ${reasonOf(last)}. ${hint(last)}`,
    last,
  );
}

function bodyOf(body: unknown): string | Uint8Array {
  return body instanceof Uint8Array ? body : JSON.stringify(body);
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && cause.name === "TimeoutError") return "no answer in time";
  return messageOf(error) || systemCode(error) || "no connection";
}

function hint(error: unknown): string {
  return /CERT|SIGNATURE|ISSUER/.test(systemCode(error) ?? "")
    ? "Name the authority that signed the site's certificate with --ca-file (or LONGSHORE_CA_FILE)"
    : "`longshore doctor` says what runs and what doesn't";
}

function neverConnected(error: unknown): boolean {
  const code = systemCode(error) ?? "";
  return ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND"].includes(code);
}

function refusal(status: number, path: string, text: string): string {
  const problem = parseProblem(text);
  const said = [problem?.title, problem?.detail].filter((part) => part !== undefined && part !== "").join(": ");
  // One that the sentence names already isn't told twice.
  const untold = (problem?.faults ?? []).filter(({ path: where, message }) => !said.endsWith(`${where}: ${message}`));
  const faults = untold.map(({ path: where, message }) => `\n  ${where}: ${message}`).join("");
  if (faults !== "") return `${said}${faults}`;
  return said === "" ? `the admin API refused ${path} with status ${status}` : said;
}

function parseProblem(text: string): z.infer<typeof problemSchema> | undefined {
  try {
    return problemSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function exitCodeFor(status: number): ExitCode {
  if (status === 401 || status === 403) return EXIT.denied;
  if (status === 404) return EXIT.notFound;
  if (status === 409 || status === 412) return EXIT.conflict;
  if (status === 400 || status === 422) return EXIT.usage;
  return status === 503 ? EXIT.unavailable : EXIT.failed;
}
