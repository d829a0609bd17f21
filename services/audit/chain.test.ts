import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  CHAIN_START,
  type ChainPosition,
  checkLine,
  linesOf,
  MOST_LINE_BYTES,
  scanSegment,
  sealLine,
} from "./chain.js";
import type { AuditEntry } from "./contract.js";

const AT = Date.parse("2026-11-21T12:00:00.123Z");
const entryArbitrary: fc.Arbitrary<AuditEntry> = fc.record(
  {
    kind: fc.constantFrom("login", "transfer", "file", "admin"),
    what: fc.string(),
    outcome: fc.string(),
    who: fc.string({ unit: "binary" }),
    path: fc.string({ unit: "binary" }),
    bytes: fc.nat(),
    details: fc.dictionary(fc.string(), fc.string()),
  },
  { requiredKeys: ["kind", "what", "outcome"] },
);

function chainOf(entries: readonly AuditEntry[]): string[] {
  let position: ChainPosition = CHAIN_START;
  return entries.map((entry) => {
    const sealed = sealLine(entry, position, "alpha", AT);
    position = sealed.position;
    return sealed.line;
  });
}

/** The number of lines that stand, from the first on. */
function standing(content: Buffer): number {
  let position: ChainPosition | undefined = CHAIN_START;
  let good = 0;
  for (const { line } of linesOf(content)) {
    const checked = checkLine(line, position);
    if (checked.fault !== undefined) return good;
    position = checked.position;
    good += 1;
  }
  return good;
}

const contentOf = (lines: readonly string[]) => Buffer.from(lines.map((line) => `${line}\n`).join(""));

test("what was sealed stands, and is read as it was written", () => {
  fc.assert(
    fc.property(fc.array(entryArbitrary, { minLength: 1, maxLength: 8 }), (entries) => {
      const lines = chainOf(entries);
      assert.equal(standing(contentOf(lines)), lines.length);
      const scanned = scanSegment(contentOf(lines));
      assert.deepEqual([scanned.records, scanned.rest], [lines.length, "none"]);
    }),
  );
});

test("a change of any one byte shows, at its own line or as an end that is missing", () => {
  const arbitrary = fc.tuple(
    fc.array(entryArbitrary, { minLength: 1, maxLength: 4 }),
    fc.nat(),
    fc.integer({ min: 1, max: 255 }),
  );
  fc.assert(
    fc.property(arbitrary, ([entries, where, flip]) => {
      const lines = chainOf(entries);
      const content = contentOf(lines);
      const at = where % content.length;
      const changedLine = content.subarray(0, at).filter((byte) => byte === 0x0a).length;
      content[at] = (content[at] as number) ^ flip;
      assert.equal(standing(content), changedLine, `byte ${at} of ${content}`);
    }),
    { numRuns: 500 },
  );
});

test("every byte of a short chain, changed in each of its bits, shows", () => {
  const entries: AuditEntry[] = [
    { kind: "login", what: "password", outcome: "ok", who: "ann\ufffd" },
    { kind: "transfer", what: "upload", outcome: "complete", path: "/in/\ufffd" },
  ];
  const content = contentOf(chainOf(entries));
  for (let at = 0; at < content.length; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const changed = Buffer.from(content);
      changed[at] = (content[at] as number) ^ (1 << bit);
      assert.ok(standing(changed) < entries.length, `byte ${at}, bit ${bit}`);
    }
  }
});

test("a line that is dropped, doubled or moved shows", () => {
  const lines = chainOf(Array.from({ length: 6 }, (_, i) => ({ kind: "login", what: `${i}`, outcome: "ok" }) as const));
  for (let i = 0; i < lines.length; i += 1) {
    // the newest line's absence is what only the next one can tell
    if (i < lines.length - 1) assert.equal(standing(contentOf(lines.toSpliced(i, 1))), i);
    assert.equal(standing(contentOf(lines.toSpliced(i, 0, lines[i] as string))), i + 1);
    for (let j = i + 1; j < lines.length; j += 1) {
      const swapped = lines.with(i, lines[j] as string).with(j, lines[i] as string);
      assert.equal(standing(contentOf(swapped)), i);
    }
  }
});

test("a line that somebody wrote anew, whole and with the right number, shows at the next one", () => {
  const entries = Array.from({ length: 4 }, (_, i) => ({ kind: "login", what: `${i}`, outcome: "ok" }) as const);
  const lines = chainOf(entries);
  const [, before] = chainOf(entries.slice(0, 2)).map((line) => checkLine(Buffer.from(line), undefined));
  assert.ok(before !== undefined && before.fault === undefined);
  const forged = sealLine({ kind: "login", what: "forged", outcome: "ok" }, before.position, "alpha", AT).line;
  assert.equal(standing(contentOf(lines.with(2, forged))), 3);
});

test("an append that was cut short is told from damage in the middle", () => {
  const lines = chainOf(Array.from({ length: 4 }, (_, i) => ({ kind: "login", what: `${i}`, outcome: "ok" }) as const));
  const content = contentOf(lines);
  const whole = contentOf(lines.slice(0, 3)).length;
  const torn = scanSegment(content.subarray(0, content.length - 1));
  assert.deepEqual([torn.rest, torn.bytes, torn.position?.seq], ["torn", whole, 3]);
  const zeros = scanSegment(Buffer.concat([content.subarray(0, whole), Buffer.alloc(4_096)]));
  assert.deepEqual([zeros.rest, zeros.bytes], ["torn", whole]);
  const hole = Buffer.from(content);
  hole.fill(0, 10, 20);
  assert.equal(scanSegment(hole).rest, "damaged");
});

test("a record that is far too long keeps who, what and where", () => {
  const entry: AuditEntry = {
    kind: "admin",
    what: "put",
    outcome: "ok",
    who: "root",
    details: { x: "y".repeat(200_000) },
  };
  const { line } = sealLine(entry, CHAIN_START, "alpha", AT);
  assert.ok(line.length < MOST_LINE_BYTES);
  const checked = checkLine(Buffer.from(line), CHAIN_START);
  assert.ok(checked.fault === undefined);
  assert.equal(checked.record.who, "root");
});
