import { request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";
import { buffer } from "node:stream/consumers";
import { TLSSocket } from "node:tls";
import { checkServerIdentity } from "#lib/server-identity.js";

export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Certificates (PEM) of authorities, instead of the system's. A certificate is always checked. */
  readonly ca?: string;
  /** For the whole answer, in milliseconds. */
  readonly timeoutMs: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly url: string;
  readonly body: Buffer;
  /** When the server's certificate ends, milliseconds since 1970; undefined over plain HTTP. */
  readonly certificateEndsAt?: number;
}

const VERIFIED = { rejectUnauthorized: true, checkServerIdentity } as const;

/** One request over HTTP or HTTPS. Not fetch: Node 20's takes no authorities of the caller's. Rejects with the system's error. */
export function ask(url: URL, request: HttpRequest): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const { method, body, ca, timeoutMs } = request;
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const options = {
      method,
      headers: { ...request.headers, ...length },
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
    } as const;
    const asking =
      url.protocol === "https:"
        ? secureRequest(url, { ...options, ...VERIFIED, ...(ca === undefined ? {} : { ca }) })
        : plainRequest(url, options);
    asking.on("error", reject);
    asking.on("response", (response) => {
      const { statusCode: status = 0, socket } = response;
      const answer = { status, url: url.href, ...(socket instanceof TLSSocket ? endOf(socket) : {}) };
      buffer(response).then((body) => resolve({ ...answer, body }), reject);
    });
    asking.end(body);
  });
}

function endOf(socket: TLSSocket): Pick<HttpAnswer, "certificateEndsAt"> {
  const at = Date.parse(socket.getPeerCertificate().valid_to);
  return Number.isNaN(at) ? {} : { certificateEndsAt: at };
}
