import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { keepAwake } from "../cluster/fixture.js";
import { type Node, Site } from "../cluster/node-process.js";
import { arbitraryOf, type JsonSchema } from "./json-schema.js";

/** Requests made of the node's own OpenAPI document, as they should be and in every way broken, against a real node. */

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly schema: JsonSchema;
}
interface Operation {
  readonly method: string;
  readonly path: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: { readonly "application/json"?: { readonly schema: JsonSchema } } };
  readonly responses: Readonly<Record<string, unknown>>;
}

let site: Site;
let node: Node;
let operations: readonly Operation[];
const tokens: Record<string, string> = {};

keepAwake();
before(async () => {
  site = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  node = await site.node("solo", 1);
  await node.ready();
  const { paths } = (await node.ask("/api/v1/openapi.json")).body as {
    paths: Record<string, Record<string, Omit<Operation, "path" | "method">>>;
  };
  operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ ...operation, path, method: method.toUpperCase() })),
  );
  assert.ok(operations.length > 15);
  for (const role of ["viewer", "operator", "admin"]) {
    await node.ask(`/api/v1/administrators/${role}`, { method: "PUT", body: { role } });
    const made = await node.ask(`/api/v1/administrators/${role}/tokens`, { method: "POST", body: {} });
    tokens[role] = String(made.body.token);
  }
});
after(async () => {
  await node?.process.kill();
  site.remove();
});

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  /** Sent without saying how long it is. */
  readonly chunked: boolean;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Not fetch: that one refuses to send half of what is to be sent here. */
function send({ method, path, headers, body, chunked }: Sent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = body === undefined || chunked ? {} : { "content-length": String(body.length) };
    const asking = request(new URL(node.url), { method, path, headers: { ...headers, ...length }, agent: false });
    asking.setTimeout(20_000, () => asking.destroy(new Error("no answer within 20 s")));
    asking.on("error", reject);
    asking.on("response", (response) => {
      text(response).then(
        (all) => resolve({ status: response.statusCode ?? 0, headers: response.headers, text: all }),
        reject,
      );
    });
    if (body === undefined || !chunked) asking.end(body);
    else {
      asking.write(body.subarray(0, body.length / 2));
      asking.end(body.subarray(body.length / 2));
    }
  });
}

const odd = fc.oneof(
  fc.constantFrom(
    "ann",
    "solo",
    "viewer",
    "..",
    ".",
    "%00",
    "%ff",
    "%",
    "a%2fb",
    "%F0%9F%9A%A2",
    "é".repeat(3),
    "__proto__",
  ),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constant("x".repeat(3_000)),
);
const plainHeader = fc.string({
  unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code === 0x7f ? 0x21 : code)),
});

function parameterOf({ name, schema }: Parameter): fc.Arbitrary<string> {
  // What a valid one may ask for takes ten seconds.
  if (name === "wait") return fc.constantFrom("0", "0.05", "11", "-1", "x", "");
  const known = name === "cursor" ? [fc.constantFrom("", "YW5u", "AAAA", "/w")] : [];
  return fc.oneof(arbitraryOf(schema).map(String), odd, ...known);
}

/** Lone surrogates have no form in an address. */
function wellFormed(part: unknown): string {
  return String(part).replace(/\p{Surrogate}/gu, "?");
}

/** The plain value most of the time, else one of the others. */
function mostly<T>(plain: T, ...others: readonly fc.Arbitrary<T>[]): fc.Arbitrary<T> {
  const rest = others.map((arbitrary) => ({ weight: 1, arbitrary }));
  return fc.oneof({ weight: 5 * others.length, arbitrary: fc.constant(plain) }, ...rest);
}

const deep = fc.integer({ min: 1_000, max: 200_000 }).map((depth) => "[".repeat(depth) + "]".repeat(depth));

function bodyOf(operation: Operation): fc.Arbitrary<Buffer | undefined> {
  const schema = operation.requestBody?.content["application/json"]?.schema;
  const fitting = schema === undefined ? fc.constant({}) : arbitraryOf(schema);
  const wrong = fc
    .tuple(fitting, fc.string({ unit: "binary", maxLength: 8 }), fc.jsonValue())
    .map(([body, key, value]) => (typeof body === "object" && body !== null ? { ...body, [key]: value } : value));
  return fc.oneof(
    { weight: 8, arbitrary: fitting.map((body) => Buffer.from(JSON.stringify(body))) },
    { weight: 8, arbitrary: fc.constantFrom("{}", '{"role":"admin"}').map((body) => Buffer.from(body)) },
    wrong.map((body) => Buffer.from(JSON.stringify(body))),
    fc.jsonValue().map((body) => Buffer.from(JSON.stringify(body))),
    fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
    deep.map((body) => Buffer.from(body)),
    deep.map((body) => Buffer.from(`{"description":${body},"__proto__":{"role":"admin"}}`)),
    fc.constantFrom(70_000, 1_600_000, 4_000_000).map((size) => Buffer.from(`{"description":"${"x".repeat(size)}"}`)),
    fc.constant(Buffer.from(`{${Array.from({ length: 20_000 }, (_, at) => `"k${at}":1`).join()}}`)),
    fc.constant(undefined),
  );
}

/** Every second one goes to the accounts: what is made, changed and removed there is what later ones meet. */
const choice = fc.tuple(fc.boolean(), fc.nat()).map(([anywhere, at]) => {
  const some = anywhere ? operations : operations.filter(({ path }) => path.startsWith("/api/v1/accounts"));
  return some[at % some.length];
});

const requests = choice.chain((operation): fc.Arbitrary<{ operation: Operation; sent: Sent }> => {
  assert.ok(operation);
  const named = (where: Parameter["in"]) => (operation.parameters ?? []).filter((one) => one.in === where);
  const values = (list: readonly Parameter[]) =>
    fc.record(Object.fromEntries(list.map((one) => [one.name, parameterOf(one)])), { requiredKeys: [] });
  return fc
    .record({
      names: fc.record(
        Object.fromEntries(named("path").map((one) => [one.name, mostly("ann", fc.constant("solo"), odd)])),
      ),
      // Mostly as it should be: else all of it would end at the door.
      query: mostly(
        {},
        values(named("query")),
        fc.dictionary(fc.string({ maxLength: 5 }), fc.string(), { maxKeys: 2 }),
      ),
      headers: mostly({}, values(named("header").filter(({ name }) => name !== "Idempotency-Key"))),
      key: mostly(undefined, fc.uuid(), fc.constantFrom("one", "two"), plainHeader),
      who: fc.constantFrom("site", "site", "site", "admin", "operator", "viewer", "nobody", "odd"),
      type: mostly("application/json", fc.constantFrom("text/plain", "application/xml", "")),
      override: mostly<string | undefined>(undefined, fc.constantFrom("DELETE", "PUT")),
      method: fc.oneof(
        { weight: 12, arbitrary: fc.constant(operation.method) },
        { weight: 1, arbitrary: fc.constantFrom("PATCH", "OPTIONS", "HEAD", "TRACE", "POST", "PROPFIND") },
      ),
      body: bodyOf(operation),
      chunked: fc.boolean(),
    })
    .map(({ names, query, headers, key, who, type, override, method, body, chunked }) => {
      const path = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => {
        const value = names[name] ?? "x";
        // Some names are spelled in percent signs already.
        return /^[%\w.]*$/.test(value) ? value : encodeURIComponent(wellFormed(value));
      });
      const pairs = Object.entries(query).map(([name, value]) => [wellFormed(name), wellFormed(value)]);
      const search = new URLSearchParams(pairs as [string, string][]).toString();
      const token = who === "site" ? node.token : who === "odd" ? "lsa_0123456789ab_ÿ" : tokens[who];
      const bare = method === "GET" || method === "HEAD" || method === "TRACE";
      const sent: Sent = {
        method,
        path: search === "" ? path : `${path}?${search}`,
        headers: {
          ...Object.fromEntries(
            Object.entries(headers).map(([name, value]) => [
              name,
              Buffer.from(value ?? "")
                .toString("latin1")
                .replace(/[^\x20-\x7e\x80-\xff]/g, "?"),
            ]),
          ),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(key === undefined || key === "" ? {} : { "idempotency-key": key }),
          ...(type === "" || bare ? {} : { "content-type": type }),
          ...(override === undefined ? {} : { "x-http-method-override": override }),
        },
        body: bare ? undefined : body,
        chunked,
      };
      return { operation, sent };
    });
});

/** Answers that any address may give, whatever the document says of the operation. */
const ANYWHERE = new Set([404, 405]);

function judge({ operation, sent }: { operation: Operation; sent: Sent }, answer: Answer): void {
  const said = `${sent.method} ${sent.path.slice(0, 200)} -> ${answer.status} ${answer.text.slice(0, 500)}`;
  assert.ok(answer.status < 500 || answer.status === 503 || answer.status === 504, said);
  const open = operation.path.startsWith("/health");
  if (sent.method === operation.method) {
    assert.ok(
      String(answer.status) in operation.responses || ANYWHERE.has(answer.status),
      `not in the document: ${said}`,
    );
  }
  if (answer.status < 400 || sent.method === "HEAD" || (open && answer.status === 503)) return;
  assert.match(String(answer.headers["content-type"]), /^application\/problem\+json/, said);
  const problem = JSON.parse(answer.text) as { status: number; title: string };
  assert.equal(problem.status, answer.status, said);
  assert.ok(problem.title.length > 0 && answer.text.length < 100_000, said);
  assert.doesNotMatch(answer.text, /node_modules|\.js:\d|at async|\/tmp\//, said);
}

/** Resident memory of the node, MiB. */
function residentMiB(): number {
  const found = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${node.process.pid}/status`, "utf8"));
  return Number(found?.[1]) / 1_024;
}

test("whatever is asked in whatever form, the answer is one that the document knows, and the node is well afterwards", async () => {
  const before = residentMiB();
  const statuses = new Map<number, number>();
  let written = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(requests, { minLength: 1, maxLength: 6 }), async (batch) => {
      await Promise.all(
        batch.map(async (one) => {
          const answer = await send(one.sent);
          statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
          if (one.sent.method !== "GET" && answer.status < 300) written++;
          judge(one, answer);
        }),
      );
    }),
    { numRuns: 250, interruptAfterTimeLimit: 120_000 },
  );
  // A fuzz that is refused at the door tests the door only.
  for (const status of [200, 400, 401, 403, 404, 405, 422]) {
    assert.ok((statuses.get(status) ?? 0) > 0, `never ${status}: ${JSON.stringify([...statuses])}`);
  }
  assert.ok(written > 0, `nothing was ever written: ${JSON.stringify([...statuses])}`);
  assert.equal(node.process.alive, true, node.process.output);
  assert.doesNotMatch(node.process.output, /an admin request failed|admin server/);
  await node.ask("/api/v1/nodes/solo/undrain", { method: "POST" });
  await node.ready();
  const grown = residentMiB() - before;
  assert.ok(grown < 250, `${Math.round(grown)} MiB more than before`);
});

test("bytes that aren't HTTP end with a problem or a closed connection, never with the node", async () => {
  const port = Number(new URL(node.url).port);
  const lines = fc.constantFrom(
    "GET / HTTP/1.1\r\n",
    "Host: x\r\n",
    "\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
  );
  const noise = fc.array(fc.oneof(lines, fc.string({ unit: "binary", maxLength: 30 })), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(noise, async (parts) => {
      const socket = connect(port, "127.0.0.1");
      socket.setTimeout(3_000, () => socket.destroy());
      const heard = text(socket).catch(() => "");
      socket.end(Buffer.from(parts.join("")));
      const answer = await heard;
      if (answer !== "") assert.match(answer, /^HTTP\/1\.1 (?:200|404|4\d\d) /);
      if (/^HTTP\/1\.1 4/.test(answer)) assert.match(answer, /application\/problem\+json/i);
    }),
    { numRuns: 150 },
  );
  const large = await send({
    method: "GET",
    path: "/api/v1/site",
    headers: { "x-large": "x".repeat(40_000) },
    body: undefined,
    chunked: false,
  });
  assert.equal(large.status, 431);
  assert.match(String(large.headers["content-type"]), /problem\+json/);
  assert.equal((await node.ask("/health/live")).status, 200);
});
