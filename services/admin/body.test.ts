import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { test } from "node:test";
import { z } from "zod";
import { InvalidConfigError } from "#config/errors.js";
import { entityTag, preconditionOf, readJson, readValid } from "./body.js";
import { HttpError } from "./errors.js";

function request(body: string | Buffer, headers: IncomingMessage["headers"] = { "content-type": "application/json" }) {
  return Object.assign(Readable.from([Buffer.from(body)]), { headers }) as unknown as IncomingMessage;
}

function status(expected: number) {
  return (error: unknown) => error instanceof HttpError && error.status === expected;
}

test("a JSON body is read", async () => {
  assert.deepEqual(await readJson(request('{"a":"ä"}'), 100), { a: "ä" });
  assert.deepEqual(await readJson(request("[]", { "content-type": "application/json; charset=utf-8" }), 100), []);
});

test("what isn't JSON, isn't UTF-8 or says that it is something else is refused", async () => {
  await assert.rejects(readJson(request("{"), 100), status(400));
  await assert.rejects(readJson(request(Buffer.from([0x22, 0xff, 0x22])), 100), status(400));
  await assert.rejects(readJson(request("{}", {}), 100), status(415));
  await assert.rejects(readJson(request("{}", { "content-type": "text/plain" }), 100), status(415));
});

test("a body that isn't valid is refused with the path of each fault, what a default gives is there", async () => {
  const schema = z.strictObject({ a: z.int(), b: z.boolean().default(true) });
  assert.deepEqual(await readValid(request('{"a":1}'), 100, schema, "no"), { a: 1, b: true });
  await assert.rejects(readValid(request('{"a":"x"}'), 100, schema, "it isn't valid"), (error) => {
    assert.ok(error instanceof InvalidConfigError);
    assert.match(error.message, /^it isn't valid/);
    assert.deepEqual(
      error.faults.map(({ path }) => path),
      ["a"],
    );
    return true;
  });
});

test("a body that is too large is refused, whether it says so or not", async () => {
  const headers = { "content-type": "application/json" };
  await assert.rejects(readJson(request("[]", { ...headers, "content-length": "101" }), 100), status(413));
  await assert.rejects(readJson(request(`"${"x".repeat(100)}"`, headers), 100), status(413));
});

test("a precondition is a revision, an absence, or nothing", () => {
  assert.equal(preconditionOf({}), undefined);
  assert.equal(preconditionOf({ "if-match": entityTag(42) }), 42);
  assert.equal(preconditionOf({ "if-match": 'W/"42"' }), 42);
  assert.equal(preconditionOf({ "if-none-match": "*" }), "absent");
  for (const headers of [
    { "if-match": "*" },
    { "if-match": '"x"' },
    { "if-none-match": '"42"' },
    { "if-match": '"1"', "if-none-match": "*" },
  ]) {
    assert.throws(() => preconditionOf(headers), status(400));
  }
});
