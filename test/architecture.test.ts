import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

/**
 * The house's shape, read from the sources. The compiler refuses an undeclared arrow too, but only between files that
 * it builds; this test also sees packages, dynamic imports and what a tsconfig can't say.
 */

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const longestFile = 500;

interface Source {
  /** Relative to the repository, `/`-separated. */
  readonly path: string;
  /** Text with comments blanked, so that prose about `console` or an import isn't taken for code. */
  readonly code: string;
  readonly lines: number;
}

interface PackageRule {
  readonly packages: readonly string[];
  readonly allowed: RegExp;
  readonly why: string;
}

const packageRules: readonly PackageRule[] = [
  {
    packages: ["etcd3"],
    allowed: /^services\/coordination\/etcd[^/]*\.ts$/,
    why: "its retries and leases are unsafe unless wrapped",
  },
  {
    packages: ["lmdb"],
    allowed: /^services\/coordination\//,
    why: "the store is reached through its contract",
  },
  {
    packages: ["prom-client", "winston"],
    allowed: /^services\/observe\//,
    why: "logs and metrics are injected",
  },
  {
    packages: ["ssh2"],
    allowed: /^(services\/protocols\/|test\/)/,
    why: "protocols stay in their adapters",
  },
  {
    packages: ["koa", "@koa/router"],
    allowed: /^services\/admin\//,
    why: "HTTP administration is one folder",
  },
  {
    packages: ["node-cron", "nodemailer"],
    allowed: /^services\/life\//,
    why: "what a cluster does by the clock is fenced by its coordinator, and mail goes out from one place",
  },
  {
    packages: ["@grafana/grafana-foundation-sdk"],
    allowed: /^grafana\/source\//,
    why: "dashboards are generated, and committed as JSON",
  },
  {
    packages: ["yaml"],
    allowed: /^(services\/cli\/|test\/)/,
    why: "nodes speak JSON; YAML is for people",
  },
  {
    packages: ["@node-rs/argon2"],
    allowed: /^(services\/auth\/|test\/)/,
    why: "password hashing has one place",
  },
];

/** Adapters translate one protocol each; what two of them share goes to `net/`, `ssh/` or below sessions. */
const adapters = ["sftp", "scp", "ftp", "https"];

function blankComments(text: string): string {
  const blank = (comment: string) => comment.replace(/[^\n]/g, " ");
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, blank).replace(/(^|\s)\/\/.*$/gm, blank);
}

function readSources(folder: string): Source[] {
  const found: Source[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !/\.[cm]?tsx?$/.test(entry.name)) continue;
    // `path` is deprecated from Node 21 on, `parentPath` is missing from 20.9: whichever is there.
    const parent = entry.parentPath ?? entry.path;
    const full = join(parent, entry.name);
    const text = readFileSync(full, "utf8");
    const path = relative(root, full).split(sep).join("/");
    found.push({ path, code: blankComments(text), lines: text.trimEnd().split("\n").length });
  }
  return found.sort((a, b) => a.path.localeCompare(b.path));
}

/** The formatter puts every static import at the start of a line, and `npm test` checks the formatting. */
function importsOf(code: string): string[] {
  const found: string[] = [];
  const forms = [
    /^(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
    /^import\s*["']([^"']+)["']/gm,
    /\b(?:import|require|require\.resolve)\(\s*["'`]([^"'`]+)["'`]/g,
  ];
  for (const form of forms) for (const match of code.matchAll(form)) if (match[1] !== undefined) found.push(match[1]);
  return found;
}

/** `services/<folder>`, `grafana` or `test`. */
function folderOf(path: string): string {
  const parts = path.split("/");
  return parts[0] === "services" ? `services/${parts[1]}` : (parts[0] ?? "");
}

/** The repository path that a specifier of ours leads to; undefined for a package or a built-in module. */
function ownTarget(source: string, specifier: string): string | undefined {
  if (specifier.startsWith("#")) return `services/${specifier.slice(1)}`;
  if (specifier.startsWith("."))
    return relative(root, resolve(root, dirname(source), specifier))
      .split(sep)
      .join("/");
  return undefined;
}

function packageOf(specifier: string): string {
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? `${parts[0]}/${parts[1]}` : (parts[0] ?? "");
}

function referencesOf(folder: string): string[] {
  const config: unknown = JSON.parse(readFileSync(join(root, folder, "tsconfig.json"), "utf8"));
  assert.ok(
    typeof config === "object" && config !== null && "references" in config && Array.isArray(config.references),
  );
  return config.references.map(({ path }: { path: string }) =>
    relative(root, resolve(root, folder, path))
      .split(sep)
      .join("/"),
  );
}

function dependencies(kind: "dependencies" | "devDependencies"): Set<string> {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<string, object | undefined>;
  return new Set(Object.keys(manifest[kind] ?? {}));
}

function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (node: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(node)) return [...way.slice(way.indexOf(node)), node];
    if (done.has(node)) return undefined;
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next, [...way, node]);
      if (cycle !== undefined) return cycle;
    }
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

const services = readSources("services");
const grafana = readSources("grafana");
const tests = readSources("test");
const all = [...services, ...grafana, ...tests];
const isTest = (path: string) => path.startsWith("test/") || path.endsWith(".test.ts");
/** What runs in this repository only, never at a user's. */
const isDevelopment = (path: string) => isTest(path) || path.startsWith("grafana/");
const folders = [...new Set(services.map((source) => folderOf(source.path))), "grafana", "test"];
const graph = new Map(folders.map((folder) => [folder, referencesOf(folder)]));

describe("the reader of imports", () => {
  test("sees every form, and none in a comment", () => {
    const code = blankComments(
      [
        'import a from "one";',
        "import {",
        "  b,",
        '} from "#two/b.js";',
        'import "three";',
        'export * from "./four.js";',
        'import type { C } from "five";',
        // Spelled in two parts, because this file is read, too.
        `const d = await ${"import"}("six");`,
        'const url = "http://seven"; // import x from "eight"',
        '/** import x from "nine"; */',
      ].join("\n"),
    );
    assert.deepEqual(importsOf(code).sort(), ["#two/b.js", "./four.js", "five", "one", "six", "three"].sort());
    assert.match(code, /http:\/\/seven/);
  });

  test("finds a cycle", () => {
    const cyclic = new Map([
      ["a", ["b"]],
      ["b", ["c"]],
      ["c", ["b"]],
    ]);
    assert.deepEqual(findCycle(cyclic), ["b", "c", "b"]);
    cyclic.set("c", []);
    assert.equal(findCycle(cyclic), undefined);
  });

  test("has sources to read", () => {
    assert.ok(services.length > 10, "services/ has almost no sources: is the repository whole?");
    assert.ok(services.some((source) => importsOf(source.code).length > 0));
  });
});

describe("arrows between folders", () => {
  test("each import is declared in its folder's tsconfig", () => {
    const wrong: string[] = [];
    for (const source of all) {
      const from = folderOf(source.path);
      for (const specifier of importsOf(source.code)) {
        const target = ownTarget(source.path, specifier);
        if (target === undefined || folderOf(target) === from || graph.get(from)?.includes(folderOf(target))) continue;
        wrong.push(`${source.path} imports ${specifier}, but ${from}/tsconfig.json declares no arrow to it`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  test("another folder is imported by its #name, so that an arrow can't hide in dots", () => {
    const wrong: string[] = [];
    for (const source of services)
      for (const specifier of importsOf(source.code)) {
        const target = specifier.startsWith(".") ? ownTarget(source.path, specifier) : undefined;
        if (target !== undefined && folderOf(target) !== folderOf(source.path))
          wrong.push(`${source.path}: ${specifier}`);
      }
    assert.deepEqual(wrong, []);
  });

  test("the declared arrows form no cycle", () => {
    assert.equal(findCycle(graph)?.join(" -> "), undefined);
  });

  test("each declared arrow leads to a folder with a tsconfig, and each folder is built", () => {
    const reached = new Set<string>();
    const visit = (folder: string) => {
      if (reached.has(folder)) return;
      reached.add(folder);
      for (const next of referencesOf(folder)) visit(next);
    };
    for (const folder of referencesOf(".")) visit(folder);
    assert.deepEqual(
      folders.filter((folder) => !reached.has(folder)),
      [],
      "not built by `tsc -b`",
    );
  });

  test("what makes files for the repository is no part of what runs: only tests import it", () => {
    const importers = folders.filter((folder) => folder !== "test" && graph.get(folder)?.includes("grafana"));
    assert.deepEqual(importers, []);
  });

  test("only node/ composes: nothing imports it", () => {
    const importers = folders.filter((folder) => folder !== "test" && graph.get(folder)?.includes("services/node"));
    assert.deepEqual(importers, []);
  });

  test("no protocol adapter knows another", () => {
    const adapterOf = (path: string) => {
      const [, folder, adapter] = path.split("/");
      return folder === "protocols" && adapter !== undefined && adapters.includes(adapter) ? adapter : undefined;
    };
    const wrong: string[] = [];
    for (const source of services) {
      const from = adapterOf(source.path);
      if (from === undefined) continue;
      for (const specifier of importsOf(source.code)) {
        const to = adapterOf(ownTarget(source.path, specifier) ?? "");
        if (to !== undefined && to !== from) wrong.push(`${source.path} imports ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });
});

describe("packages", () => {
  for (const rule of packageRules)
    test(`${rule.packages.join(", ")}: ${rule.why}`, () => {
      const wrong = all.filter(
        (source) =>
          !rule.allowed.test(source.path) &&
          importsOf(source.code).some((specifier) => rule.packages.includes(packageOf(specifier))),
      );
      assert.deepEqual(
        wrong.map((source) => source.path),
        [],
      );
    });

  test("each imported package is a dependency, and what runs in production is no devDependency", () => {
    const runtime = dependencies("dependencies");
    const development = dependencies("devDependencies");
    const wrong: string[] = [];
    for (const source of all)
      for (const specifier of importsOf(source.code)) {
        if (ownTarget(source.path, specifier) !== undefined || specifier.startsWith("node:")) continue;
        const name = packageOf(specifier);
        if (runtime.has(name) || (isDevelopment(source.path) && development.has(name))) continue;
        wrong.push(`${source.path} imports ${specifier}`);
      }
    assert.deepEqual(wrong, []);
  });
});

describe("files", () => {
  const mayTalk = (path: string) => path.endsWith("/main.ts") || path.startsWith("services/cli/") || isTest(path);

  test("only main.ts and the command line print or end the process", () => {
    const wrong: string[] = [];
    for (const { path, code } of services) {
      if (mayTalk(path)) continue;
      code.split("\n").forEach((line, index) => {
        if (/\bprocess\.(exit|abort|reallyExit)\(|\bconsole\.\w/.test(line))
          wrong.push(`${path}:${index + 1}: ${line.trim()}`);
      });
    }
    assert.deepEqual(wrong, []);
  });

  test(`none is longer than ${longestFile} lines: past that it holds two things`, () => {
    const long = all.filter((source) => source.lines > longestFile);
    assert.deepEqual(
      long.map((source) => `${source.path}: ${source.lines}`),
      [],
    );
  });

  test("no `any` and no silenced compiler", () => {
    const wrong: string[] = [];
    for (const { path, code } of services) if (/(:|\bas|<)\s*any\b(?!["'`])/.test(code)) wrong.push(path);
    // The pragmas are comments, so they are looked for in the raw text.
    for (const { path } of all)
      if (/^\s*\/\/\s*@ts-(ignore|nocheck)/m.test(readFileSync(join(root, path), "utf8"))) wrong.push(path);
    assert.deepEqual(wrong, []);
  });
});
