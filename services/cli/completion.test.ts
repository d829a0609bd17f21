import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { Command, Option } from "commander";
import { completionScript, treeOf } from "./completion.js";

function program(): Command {
  const longshore = new Command("longshore");
  const account = longshore.command("account").description("partners' logins");
  account
    .command("add")
    .argument("<name>")
    .addOption(new Option("-o, --output <format>", "form of the answer").choices(["text", "json"]))
    .option("--disabled", "it can't log in");
  account.command("list");
  longshore.command("secret", { hidden: true });
  return longshore;
}

/** What bash offers behind these words; the last one is being typed. */
function offered(...words: string[]): string[] {
  const line = ["longshore", ...words].map((word) => `'${word}'`).join(" ");
  const asking = `${completionScript("bash", treeOf(program()))}
COMP_WORDS=(${line}); COMP_CWORD=${words.length}; _longshore; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", asking], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, "");
  return stdout.split("\n").filter((word) => word !== "");
}

test("bash is offered commands, then their options, then their values", () => {
  assert.deepEqual(offered("a"), ["account"]);
  assert.deepEqual(offered("account", "").slice(0, 2), ["add", "list"]);
  assert.deepEqual(offered("account", "add", "--d"), ["--disabled"]);
  assert.deepEqual(offered("account", "add", "ann", "--output", ""), ["text", "json"]);
  assert.deepEqual(offered("account", "add", "-o", "j"), ["json"]);
});

test("words between the commands lead nobody astray, and what is hidden stays hidden", () => {
  assert.deepEqual(offered("--dir", "x", "account", "l"), ["list"]);
  assert.deepEqual(offered("s"), []);
  assert.deepEqual(offered("nothing", "--nothing"), []);
});

test("text from a description can't end its quotes, in no shell", () => {
  const tree = treeOf(program());
  assert.match(completionScript("fish", tree), /-l disabled -d 'it can'\\''t log in'/);
  assert.match(completionScript("zsh", tree), /^autoload -U \+X bashcompinit && bashcompinit$/m);
});
