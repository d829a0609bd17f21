import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { run, tell } from "../support/clients/run.js";
import { ROOT } from "../support/compose.js";
import { ensurePackages } from "../support/packages.js";

/** The playbooks as Debian's ansible-lint (its production profile), yamllint and Ansible's own parser see them. */

const ANSIBLE = join(ROOT, "ansible");
/** Without the developer's own settings. */
const env = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ANSIBLE_"))),
  LC_ALL: "C.UTF-8",
  ANSIBLE_CONFIG: join(ANSIBLE, "ansible.cfg"),
  ANSIBLE_NOCOLOR: "1",
};
const inAnsible = (program: string, ...args: string[]) =>
  run(program, args, { cwd: ANSIBLE, env, deadlineMs: 300_000 });

const playbooks = readdirSync(join(ANSIBLE, "playbooks")).filter((name) => name.endsWith(".yml"));
const inventories = readdirSync(join(ANSIBLE, "inventories"));

describe("the playbooks", () => {
  before(() => {
    ensurePackages({ "ansible-playbook": "ansible", "ansible-lint": "ansible-lint", yamllint: "yamllint" });
  });

  test("are what ansible-lint's production profile asks for", async () => {
    const linted = await inAnsible("ansible-lint", "--offline", "--nocolor", "-q", "--strict");
    assert.equal(linted.code, 0, tell(linted));
  });

  test("are what yamllint asks for", async () => {
    const linted = await inAnsible("yamllint", "--strict", "-c", ".yamllint", ".");
    assert.equal(linted.code, 0, tell(linted));
  });

  test("are understood by Ansible, with each example inventory", async () => {
    assert.ok(playbooks.length > 0 && inventories.length > 0);
    for (const inventory of inventories) {
      const files = playbooks.map((name) => join("playbooks", name));
      const hosts = join("inventories", inventory, "hosts.yml");
      const parsed = await inAnsible("ansible-playbook", "--syntax-check", "-i", hosts, ...files);
      assert.equal(parsed.code, 0, tell(parsed));
      assert.doesNotMatch(parsed.stderr, /DEPRECATION WARNING/, tell(parsed));
    }
  });

  test("name each variable of the example inventories in an argument spec", async () => {
    const specs = await inAnsible("sh", "-c", "cat roles/*/meta/argument_specs.yml");
    const used = await inAnsible("sh", "-c", "grep -rhoE '\\blongshore_[a-z_]+' inventories --include=*.yml | sort -u");
    const groups = /^longshore_(etcd|nodes|balancers|monitoring)$/;
    const names = used.stdout.split("\n").filter((name) => name !== "" && !groups.test(name));
    assert.ok(names.length > 5, used.stdout);
    for (const name of names) assert.match(specs.stdout, new RegExp(`^\\s+${name}:$`, "m"));
  });
});
