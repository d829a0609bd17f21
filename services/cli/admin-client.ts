import { z } from "zod";
import { CliError, EXIT, type ExitCode, messageOf } from "./errors.js";

/** Where the admin API is, and what it wants to see. */
export interface AdminAccess {
  /** Tried in this order until one takes the connection: any node may be asked. */
  readonly urls: readonly string[];
  readonly token: string;
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
  const response = await askAdminWith(access, path, request);
  const text = await response.text();
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new CliError(EXIT.failed, `${response.url} didn't answer with JSON: is it Longshore's admin API?`, error);
  }
}

/** As `askAdmin`; returns the answer itself, for content that isn't JSON. */
export async function askAdminWith(access: AdminAccess, path: string, request: AdminRequest = {}): Promise<Response> {
  const response = await firstAnswer(access, path, request);
  if (!response.ok) throw new AdminError(response.status, refusal(response.status, path, await response.text()));
  return response;
}

async function firstAnswer(access: AdminAccess, path: string, request: AdminRequest): Promise<Response> {
  let last: unknown;
  for (const url of access.urls) {
    try {
      return await fetch(new URL(path, url), {
        method: request.method ?? "GET",
        headers: {
          accept: "application/json",
          authorization: `Bearer ${access.token}`,
          ...(request.body === undefined ? {} : { "content-type": "application/json" }),
          ...request.headers,
        },
        ...(request.body === undefined ? {} : { body: bodyOf(request.body) }),
        signal: AbortSignal.timeout(request.timeoutMs ?? TIMEOUT_MS),
      });
    } catch (error) {
      last = error;
      // Anything but a connection that never came about may have changed something: that isn't repeated elsewhere.
      if (!neverConnected(error)) break;
    }
  }
  const reason = last instanceof Error && last.cause !== undefined ? messageOf(last.cause) : messageOf(last);
  throw new CliError(
    EXIT.unavailable,
    `the admin API doesn't answer at ${access.urls.join(", ")}: ${reason || "no connection"}. ` +
      "`longshore status` shows whether the site runs",
    last,
  );
}

function bodyOf(body: unknown): string | Uint8Array<ArrayBuffer> {
  return body instanceof Uint8Array ? new Uint8Array(body) : JSON.stringify(body);
}

function neverConnected(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined;
  return code === "ECONNREFUSED" || code === "EHOSTUNREACH" || code === "ENETUNREACH" || code === "ENOTFOUND";
}

function refusal(status: number, path: string, text: string): string {
  const problem = parseProblem(text);
  const said = [problem?.title, problem?.detail].filter((part) => part !== undefined && part !== "").join(": ");
  const faults = (problem?.faults ?? []).map(({ path: where, message }) => `\n  ${where}: ${message}`).join("");
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
