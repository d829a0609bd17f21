import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

/** The runner itself, on a small repository made for it: a runner that overlooks a failure makes every test worthless. */

const compiledTests = dirname(dirname(fileURLToPath(import.meta.url)));
const made: string[] = [];
after(() => {
  for (const path of made) rmSync(path, { recursive: true, force: true });
});

function repository(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "longshore-runner-"));
  made.push(root);
  for (const folder of ["services", "test", "dist/test"]) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, "package.json"), '{ "type": "module" }');
  cpSync(join(compiledTests, "run.js"), join(root, "dist/test/run.js"));
  cpSync(join(compiledTests, "runner"), join(root, "dist/test/runner"), { recursive: true });
  for (const [path, code] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    mkdirSync(dirname(join(root, "dist", path)), { recursive: true });
    writeFileSync(join(root, path), "");
    writeFileSync(
      join(root, "dist", path.replace(/\.ts$/, ".js")),
      `import { test, describe, before } from "node:test";\n${code}`,
    );
  }
  return root;
}

interface Run {
  readonly code: number | null;
  readonly output: string;
  readonly last: string;
}

function run(root: string, args: readonly string[], interruptWhen?: string): Promise<Run> {
  const child = spawn(process.execPath, [join(root, "dist/test/run.js"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.resume();
  if (interruptWhen !== undefined) {
    const watcher = watch(root, () => {
      if (!existsSync(join(root, interruptWhen))) return;
      watcher.close();
      child.kill("SIGINT");
    });
  }
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output, last: output.trimEnd().split("\n").at(-1) ?? "" }));
  });
}

function isAlive(pid: number): boolean {
  try {
    // A killed process that nobody has reaped yet is dead all the same.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

describe("the test runner", () => {
  test("counts leaves and lists skips, and a failing test fails the run with its output", async () => {
    const root = repository({
      "services/a/good.test.ts": `describe("s", () => { test("x", () => {}); test("y", { skip: "no peer" }, () => {}); });`,
      "test/fuzz/bad.test.ts": `console.log("what it printed"); test("bad", () => { throw new Error("boom"); });`,
      "test/bench/never.test.ts": `test("not run", () => { throw new Error("never"); });`,
    });
    const { code, output, last } = await run(root, ["unit", "fuzz"]);
    assert.deepEqual([code, last], [1, "1 passed, 1 failed, 1 skipped"]);
    for (const wanted of [/what it printed/, /boom/, /s > y \(no peer\)/, /unit +\d/, /fuzz +\d/])
      assert.match(output, wanted);
  });

  test("what is on demand runs when its suite or a file is named, never with all", async () => {
    const root = repository({
      "test/ops/quick.test.ts": `test("quick", () => {});`,
      "test/ops/full/long.test.ts": `test("long", () => { throw new Error("it ran"); });`,
    });
    // All files begin with the linter, which this repository doesn't have: that is the one failure.
    const all = await run(root, []);
    assert.match(all.last, /^1 passed, 1 failed/);
    assert.doesNotMatch(all.output, /it ran/);
    assert.equal((await run(root, ["ops"])).last, "1 passed, 0 failed, 0 skipped");
    for (const pattern of ["ops-full", "full/long"])
      assert.equal((await run(root, [pattern])).last, "0 passed, 1 failed, 0 skipped");
  });

  test("passes when all pass", async () => {
    const root = repository({ "test/one.test.ts": `test("x", async (t) => { await t.test("in", () => {}); });` });
    const { code, last } = await run(root, ["unit"]);
    assert.deepEqual([code, last], [0, "1 passed, 0 failed, 0 skipped"]);
  });

  test("no test at all is a failure, of a file and of a run", async () => {
    const root = repository({ "test/empty.test.ts": "" });
    assert.deepEqual((await run(root, ["nothing-like-this"])).code, 1);
    const { code, output, last } = await run(root, ["unit"]);
    assert.deepEqual([code, last], [1, "0 passed, 1 failed, 0 skipped"]);
    assert.match(output, /holds no test/);
  });

  test("a file that ends early, throws on loading or fails in a hook is a failure", async () => {
    const root = repository({
      "test/exits.test.ts": `test("x", () => process.exit(0));`,
      "test/throws.test.ts": `throw new Error("on loading");`,
      "test/hook.test.ts": `describe("s", () => { before(() => { throw new Error("hook"); }); test("x", () => {}); });`,
      "test/dies.test.ts": `test("x", () => process.kill(process.pid, "SIGKILL"));`,
    });
    const { code, output } = await run(root, ["unit"]);
    assert.equal(code, 1);
    for (const file of ["exits", "throws", "hook", "dies"])
      assert.match(output, new RegExp(`FAIL test/${file}.test.ts`));
    assert.match(output, /ended by SIGKILL/);
  });

  test("a source without a compiled file is a failure, a compiled file without a source isn't run", async () => {
    const root = repository({
      "test/one.test.ts": `test("x", () => {});`,
      "test/gone.test.ts": `test("y", () => {});`,
    });
    rmSync(join(root, "dist/test/one.test.js"));
    rmSync(join(root, "test/gone.test.ts"));
    const { code, output, last } = await run(root, ["unit"]);
    assert.deepEqual([code, last], [1, "0 passed, 1 failed, 0 skipped"]);
    assert.match(output, /not built: test\/one.test.ts/);
  });

  const daemon = (root: string) => `
    import { spawn } from "node:child_process";
    import { writeFileSync } from "node:fs";
    const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
    child.unref();
    writeFileSync(${JSON.stringify(root)} + "/pid", String(child.pid));`;

  test("a hung file is killed with all that it started, daemons included", async () => {
    const root = repository({});
    const hung = `${daemon(root)}\ntest("never ends", () => new Promise(() => setInterval(() => {}, 1000)));`;
    mkdirSync(join(root, "dist/test"), { recursive: true });
    writeFileSync(join(root, "test/hung.test.ts"), "");
    writeFileSync(join(root, "dist/test/hung.test.js"), `import { test } from "node:test";\n${hung}`);
    const { code, output } = await run(root, ["--timeout", "2", "unit"]);
    assert.equal(code, 1);
    assert.match(output, /killed after 2 s; running: never ends/);
    assert.match(output, /left behind and killed: \d+ sleep 600/);
    assert.equal(isAlive(Number(readFileSync(join(root, "pid"), "utf8"))), false);
  });

  test("Ctrl-C kills what runs, and still ends with the count", async () => {
    const root = repository({});
    writeFileSync(join(root, "test/hung.test.ts"), "");
    writeFileSync(
      join(root, "dist/test/hung.test.js"),
      `import { test } from "node:test";\n${daemon(root)}\ntest("never ends", () => new Promise(() => setInterval(() => {}, 1000)));`,
    );
    const { code, last } = await run(root, ["unit"], "pid");
    assert.deepEqual([code, last], [1, "0 passed, 1 failed, 0 skipped"]);
    assert.equal(isAlive(Number(readFileSync(join(root, "pid"), "utf8"))), false);
  });
});
